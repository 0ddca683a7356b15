//! What a person does to the fleet of `demo --shell` by hand: take a machine's power or its link away, let time pass.

use k0rotate_activities::rehearsal::line::SharedStage;
use k0rotate_activities::rehearsal::stage::Stage;
use k0rotate_activities::rehearsal::stage::faults::Link;
use std::io::BufRead;
use std::num::NonZeroU32;
use std::sync::PoisonError;
use std::time::Duration;

/// The words, and what each does.
pub const WORDS: [&str; 6] = [
    "off HOST       take its power away",
    "on HOST        give it back: the machine boots",
    "cut HOST       cut the link to it",
    "mend HOST      give the link back",
    "pass SECONDS   let so much of the fleet's time pass, at most a day",
    "pace N         seconds of its time in one of yours; 0: as fast as it goes",
];

/// The most that `pass` takes, seconds.
const LONGEST_PASS: u64 = 86_400;

/// Does what each line says and answers it, until there are no more.
pub fn obey(lines: impl BufRead, stage: &SharedStage) {
    for line in lines.lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        let said = done(&mut stage, &line);
        println!("· {}", said.unwrap_or_else(|| format!("not understood; the words are\n  {}", WORDS.join("\n  "))));
    }
}

/// Does what a line says; what it says then, or `None` if it means nothing.
fn done(stage: &mut Stage, line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (word, about) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    match word {
        "pass" => {
            let seconds = about.parse().ok().filter(|seconds| *seconds <= LONGEST_PASS)?;
            stage.pass(Duration::from_secs(seconds));
            Some(format!("{seconds} s have passed"))
        }
        "pace" => {
            let pace: u32 = about.parse().ok()?;
            stage.pace = NonZeroU32::new(pace);
            Some(stage.pace.map_or("as fast as it goes".to_owned(), |pace| format!("{pace} seconds in one of yours")))
        }
        "off" | "on" | "cut" | "mend" if !stage.world.has(about) => Some(format!("there is no host {about}")),
        "off" => {
            stage.world.power_off(about);
            Some(format!("{about} has no power"))
        }
        "on" if stage.world.has_power(about) => Some(format!("{about} has power")),
        "on" => {
            stage.world.power_on(about);
            Some(format!("{about} boots as time passes"))
        }
        "cut" => {
            stage.faults.links.insert(about.to_owned(), Link { back: None });
            Some(format!("{about} cannot be reached"))
        }
        "mend" => {
            stage.faults.links.remove(about);
            Some(format!("{about} can be reached"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    //! Shows each word on a fleet.

    use super::done;
    use crate::demo;
    use k0rotate_activities::rehearsal::stage::Stage;

    /// Goal: each word does what it says, and what means nothing changes nothing.
    #[test]
    fn each_word_does_what_it_says() {
        let mut stage = Stage::new(&demo::plan("1+1").expect("a fleet"));
        let mut say = |line: &str| done(&mut stage, line).map(|said| (said, stage.reach("w1").is_ok(), stage.now()));
        for (word, reached) in [("off", false), ("on", false), ("cut", false), ("pass", false), ("mend", true)] {
            let (said, reaches, _) = say(&format!("{word} {}", if word == "pass" { "120" } else { "w1" })).expect(word);
            assert_eq!(reaches, reached, "{word}: {said}");
        }
        let (_, _, before) = say("pace 3").expect("it is a word");
        let (_, _, after) = say("pass 7").expect("it is a word");
        assert_eq!(after.since(before).as_secs(), 7);
        for nothing in ["off", "off w1 w2", "pass much", "pass 86401", "what is this"] {
            assert_eq!(say(nothing), None, "{nothing}");
        }
        assert_eq!(say("off w9").expect("a word").0, "there is no host w9");
    }
}
