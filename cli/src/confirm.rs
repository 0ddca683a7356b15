//! Asks a person before something that cannot be taken lightly, and why it is done.

use crate::ahead::Ahead;
use crate::args::Sure;
use crate::break_glass::{self, SECOND_WORD};
use crate::error::Error;
use k0rotate_activities::inventory::Inventory;
use serde::{Deserialize, Serialize};
use std::io::IsTerminal;

/// Whether a person is asked; without a terminal nothing but `--yes` will do.
pub fn asks(sure: &Sure) -> Result<bool, Error> {
    if !sure.yes && !std::io::stdin().is_terminal() {
        return Err(Error::NotConfirmed("there is no terminal to ask, and no --yes".into()));
    }
    Ok(!sure.yes)
}

/// Shows what lies ahead, wants the API's host typed, and gives the reason: the one of `--reason`, else what is typed for it. `--yes` skips
/// both questions (docs/decisions/0006).
pub fn confirm(cluster: &Cluster, sure: &Sure, ahead: &Ahead) -> Result<String, Error> {
    eprintln!("{}", shown(cluster, ahead));
    if asks(sure)? {
        ask(&mut Terminal, API_HOST, &cluster.api_host, &sure.reason, ahead.second.as_deref())
    } else if ahead.second.is_some() {
        Err(break_glass::not_given())
    } else {
        Ok(sure.reason.clone())
    }
}

/// The same of a fleet, whose clusters have no one API: its selector is typed.
pub fn confirm_all(shown: &str, selector: &str, sure: &Sure) -> Result<String, Error> {
    eprintln!("{shown}");
    if asks(sure)? { ask(&mut Terminal, "the selector", selector, &sure.reason, None) } else { Ok(sure.reason.clone()) }
}

/// What is typed of a cluster.
const API_HOST: &str = "the API host";

/// What a person should know a cluster by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Host of its API.
    pub api_host: String,
    /// Port of its API.
    pub api_port: u16,
    /// How many hosts it has.
    pub hosts: usize,
}

impl Cluster {
    /// As its inventory has it.
    pub fn of(inventory: &Inventory) -> Self {
        let (name, api_host) = (inventory.name.clone(), inventory.api_host.clone());
        Self { name, api_host, api_port: inventory.api_port, hosts: inventory.hosts.len() }
    }
}

fn shown(cluster: &Cluster, ahead: &Ahead) -> String {
    let uid = ahead.uid.as_deref().unwrap_or("not known");
    let nodes = ahead.nodes.map_or_else(|| "Nodes not known".to_owned(), |nodes| counted(nodes, "Node"));
    let plan = ahead.plan.as_ref().map_or_else(String::new, |plan| format!("\n  plan        {plan}"));
    let approval = ahead.approval.as_ref().map_or_else(String::new, |said| format!("\n  approval    {said}"));
    let window = ahead.window.as_ref().map_or_else(String::new, |window| format!("\n  window      {window}"));
    format!(
        "{} · https://{}:{} · kube-system uid {uid} · {}, {nodes}{plan}{window}{approval}\n  outage      {}\n  afterwards  {}",
        cluster.name,
        cluster.api_host,
        cluster.api_port,
        counted(cluster.hosts, "host"),
        ahead.outage,
        ahead.then
    )
}

/// `1 host`, `2 hosts`.
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Somebody who answers.
trait Person {
    fn answer(&mut self, question: &str) -> Result<String, Error>;
}

/// Whoever sits at the terminal.
struct Terminal;

impl Person for Terminal {
    fn answer(&mut self, question: &str) -> Result<String, Error> {
        let typed = dialoguer::Input::<String>::new().with_prompt(question).allow_empty(true).interact_text();
        typed.map(|typed| typed.trim().to_owned()).map_err(|e| Error::NotConfirmed(e.to_string()))
    }
}

fn ask(
    person: &mut impl Person,
    what: &str,
    wanted: &str,
    reason: &str,
    second: Option<&str>,
) -> Result<String, Error> {
    let typed = person.answer(&format!("Type {what} ({wanted}) to go on"))?;
    if typed != wanted {
        return Err(Error::NotConfirmed(format!("{typed:?} is not {wanted}")));
    }
    if let Some(why) = second {
        let typed = person.answer(&format!("{why}. Type {SECOND_WORD:?} to go on"))?;
        if typed != SECOND_WORD {
            return Err(Error::NotConfirmed(format!("{typed:?} is not {SECOND_WORD:?}")));
        }
    }
    if reason.is_empty() {
        person.answer("Why? It becomes part of the record (empty: none given)")
    } else {
        Ok(reason.to_owned())
    }
}

#[cfg(test)]
mod tests {
    //! Shows what is asked, and what is made of the answers.

    use super::{API_HOST, Person, ask};
    use crate::error::Error;

    /// Answers in order, and what was asked.
    struct Script(Vec<&'static str>, Vec<String>);

    impl Person for Script {
        fn answer(&mut self, question: &str) -> Result<String, Error> {
            self.1.push(question.to_owned());
            Ok(self.0.remove(0).to_owned())
        }
    }

    /// Goal: the reason is asked for only where it is missing and after the host was typed; none is allowed; another host ends it.
    #[test]
    fn the_host_then_the_reason() {
        let mut person = Script(vec!["api.example", "CHG-4711"], Vec::new());
        assert_eq!(ask(&mut person, API_HOST, "api.example", "", None).expect("it was typed"), "CHG-4711");
        assert!(person.1[0].contains("(api.example)") && person.1[1].starts_with("Why?"), "{:?}", person.1);
        let mut person = Script(vec!["api.example", ""], Vec::new());
        assert_eq!(ask(&mut person, API_HOST, "api.example", "", None).expect("it was typed"), "");
        let mut person = Script(vec!["api.example"], Vec::new());
        assert_eq!(ask(&mut person, API_HOST, "api.example", "CHG-1", None).expect("it was typed"), "CHG-1");
        let mut person = Script(vec!["yes"], Vec::new());
        assert!(matches!(ask(&mut person, API_HOST, "api.example", "", None), Err(Error::NotConfirmed(_))));
        assert_eq!(person.1.len(), 1);
    }

    /// Goal: a way back to a trust that leaked wants a second word besides the host, and no other will do.
    #[test]
    fn a_second_word_is_wanted() {
        let ask = |person: &mut Script| ask(person, API_HOST, "api.example", "INC-1", Some("It leaked"));
        let mut person = Script(vec!["api.example", "the leaked trust"], Vec::new());
        assert_eq!(ask(&mut person).expect("both were typed"), "INC-1");
        assert!(person.1[1].starts_with("It leaked. Type \"the leaked trust\""), "{:?}", person.1);
        for typed in ["api.example", "yes", ""] {
            let mut person = Script(vec!["api.example", typed], Vec::new());
            assert!(matches!(ask(&mut person), Err(Error::NotConfirmed(_))), "{typed}");
        }
    }
}
