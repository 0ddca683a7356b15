//! Holds a change to the plan that was agreed on: looks first, and refuses where the world is another one.

use super::digest::{self, SHORTEST};
use super::forecast::{Forecast, NoForecast};
use super::look::{self, Eyes};
use super::result::Refusal;
use super::window::{self, Between, Window};
use crate::ahead::Seen;
use crate::error::Error;
use k0rotate_engine::clock::Timestamp;
use k0rotate_workflows::rotate::Rotate;

/// Whether a digest may be meant by this beginning of it.
pub fn beginning(asked: &str) -> Result<String, Error> {
    let asked = asked.trim().to_ascii_lowercase();
    let enough = asked.len() >= SHORTEST && asked.chars().all(|c| c.is_ascii_hexdigit());
    let wrong =
        || Error::Usage(format!("--plan wants at least {SHORTEST} characters of a plan's digest; not {asked:?}"));
    if enough { Ok(asked) } else { Err(wrong()) }
}

/// Refuses unless the digest begins as was asked.
pub fn insist(asked: &str, now: &str) -> Result<(), Error> {
    if now.starts_with(asked) {
        return Ok(());
    }
    Err(Error::Digest { asked: asked.to_owned(), now: now.to_owned() })
}

/// The first reason why something cannot be started, as an error.
pub fn refuse(refusals: &[Refusal]) -> Result<(), Error> {
    let first = refusals.iter().find(|refusal| refusal.held).or(refusals.first());
    match first {
        Some(held) if held.held => Err(Error::Open(format!("the cluster is held: {}", held.what))),
        Some(refused) => Err(Error::Host(format!("a rotation would be refused: {}", refused.what))),
        None => Ok(()),
    }
}

/// Who wants to know what a rotation would meet before it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// A person who is asked: all that can be seen.
    Person,
    /// Nobody: only what a plan or a window needs is looked at.
    Nobody,
}

/// The rotation as it may be started: by the plan that was agreed on, if one is named, and with the room that it is expected to need
/// where a window must have it; in the first of the cluster's windows that has it, if there are any; and what was seen for that, or for the person who is asked. Else nothing is looked at before the rotation
/// itself does.
pub async fn agreed(
    eyes: &Eyes<'_>,
    rotate: Rotate,
    windows: &[Between],
    plan: Option<&str>,
    before: Before,
) -> Result<(Rotate, Option<Seen>), Error> {
    let asked = plan.map(beginning).transpose()?;
    // Also where no forecast follows: nothing is stopped outside of a window.
    let rotate = window::within(rotate, windows, None, eyes.now());
    if asked.is_none() && rotate.not_after.is_none() && before == Before::Nobody {
        return Ok((rotate, None));
    }
    let survey = eyes.look(&rotate).await?;
    if asked.is_some() || before == Before::Person {
        refuse(&look::refusals(&survey, &rotate))?;
    }
    let Some((facts, cluster)) = look::whole(eyes.inventory, &survey, rotate.hosts.len()) else {
        // The rotation's own look says what is wrong, and nothing was agreed on.
        return Ok((rotate, Some(Seen { survey, digest: None, forecast: None })));
    };
    let now = digest::digest(&facts, &cluster, &rotate);
    if let Some(asked) = asked {
        insist(&asked, &now)?;
    }
    let digest = Some(now);
    if rotate.not_after.is_none() && before == Before::Nobody {
        return Ok((rotate, Some(Seen { survey, digest, forecast: None })));
    }
    let forecast = Forecast::of(&facts, &cluster, &rotate).await;
    let rotate = window::within(rotate, windows, forecast.as_ref().ok(), survey.at);
    let rotate = with_room(rotate, &forecast, survey.at)?;
    Ok((rotate, Some(Seen { survey, digest, forecast: Some(forecast) })))
}

/// A window must have room for both ways.
fn with_room(rotate: Rotate, forecast: &Result<Forecast, NoForecast>, now: Timestamp) -> Result<Rotate, Error> {
    match forecast {
        Ok(forecast) => match Window::of(&rotate, forecast, now) {
            Some(window) => match window.too_short() {
                Some(why) => Err(Error::Window(why)),
                None => Ok(Rotate { room_seconds: window.room_seconds, ..rotate }),
            },
            None => Ok(rotate),
        },
        Err(none) => {
            if rotate.not_after.is_some() {
                eprintln!("· no forecast ({none}): the window must leave {} s for both ways", rotate.room_seconds);
            }
            Ok(rotate)
        }
    }
}
