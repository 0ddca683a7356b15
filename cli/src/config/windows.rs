//! Windows of a week in a time zone: `Tue,Thu 01:00-03:00`, and the next ones after a time.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use k0rotate_engine::clock::Timestamp;

/// So many days ahead a window is looked for: one of each day of the week is among them, also where clocks change.
const AHEAD: usize = 16;
/// What every day is called.
const DAILY: &str = "daily";

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// See the file's sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    days: Vec<Weekday>,
    from: Time,
    until: Time,
}

impl Windows {
    /// Days and hours; an end that is not after its begin is on the day after.
    pub fn parse(text: &str) -> Option<Self> {
        let (days, hours) = text.trim().rsplit_once(' ')?;
        let (from, until) = hours.split_once('-')?;
        let days = if days.trim() == DAILY {
            DAYS.iter().map(|(_, day)| *day).collect()
        } else {
            let day = |name: &str| DAYS.iter().find(|(known, _)| *known == name.trim()).map(|(_, day)| *day);
            days.split(',').map(day).collect::<Option<Vec<_>>>()?
        };
        Some(Self { days, from: hour(from)?, until: hour(until)? })
    }

    /// The one that is open at this time or opens next, and those after it.
    pub fn after(&self, now: Timestamp, zone: &TimeZone) -> Vec<(Timestamp, Timestamp)> {
        let instant = |date: Date, time: Time| {
            let at = zone.to_timestamp(date.to_datetime(time)).ok()?;
            u64::try_from(at.as_millisecond()).ok().map(Timestamp)
        };
        let Some(mut day) = i64::try_from(now.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .and_then(|at| at.to_zoned_datetime(zone.clone()).date().yesterday().ok())
        else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for _ in 0..AHEAD {
            let Ok(next) = day.tomorrow() else { break };
            let ends = if self.until > self.from { day } else { next };
            if let (true, Some(from), Some(until)) =
                (self.days.contains(&day.weekday()), instant(day, self.from), instant(ends, self.until))
            {
                all.extend((until > now && until > from).then_some((from, until)));
            }
            day = next;
        }
        all
    }
}

fn hour(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    //! Shows which windows there are, also where clocks change.

    use super::Windows;
    use crate::render::rfc3339;
    use jiff::tz::TimeZone;
    use k0rotate_engine::clock::Timestamp;

    fn next(at: &str, zone: &str, now: &str) -> Vec<String> {
        let now: jiff::Timestamp = now.parse().expect("a time");
        let now = Timestamp(u64::try_from(now.as_millisecond()).expect("it is after 1970"));
        let zone = TimeZone::get(zone).expect("it is known");
        let all = Windows::parse(at).expect("it is one").after(now, &zone);
        all.iter().take(2).map(|(from, until)| format!("{} {}", rfc3339(*from), rfc3339(*until))).collect()
    }

    /// Goal: the window that is open now counts, also one that began yesterday; hours are those of the zone, in winter and in summer.
    #[test]
    fn the_next_window_is_found() {
        let tuesdays = |now| next("Tue,Thu 01:00-03:00", "Europe/Berlin", now);
        assert_eq!(
            tuesdays("2026-11-24T01:59:00Z"),
            ["2026-11-24T00:00:00Z 2026-11-24T02:00:00Z", "2026-11-26T00:00:00Z 2026-11-26T02:00:00Z"]
        );
        assert_eq!(tuesdays("2026-11-24T02:00:00Z")[0], "2026-11-26T00:00:00Z 2026-11-26T02:00:00Z");
        assert_eq!(tuesdays("2026-07-01T12:00:00Z")[0], "2026-07-01T23:00:00Z 2026-07-02T01:00:00Z");
        let nightly = next("daily 23:00-01:30", "UTC", "2026-11-24T00:10:00Z");
        assert_eq!(nightly, ["2026-11-23T23:00:00Z 2026-11-24T01:30:00Z", "2026-11-24T23:00:00Z 2026-11-25T01:30:00Z"]);
    }

    /// Goal: an hour that the clocks pass twice makes no two windows of one; one that they skip is the hour after, and where nothing is left of it there is none that day.
    #[test]
    fn clocks_may_change_in_it() {
        let sundays = |now| next("Sun 02:30-04:00", "Europe/Berlin", now);
        assert_eq!(sundays("2026-03-28T12:00:00Z")[0], "2026-03-29T01:30:00Z 2026-03-29T02:00:00Z", "shorter");
        assert_eq!(sundays("2026-10-24T12:00:00Z")[0], "2026-10-25T00:30:00Z 2026-10-25T03:00:00Z", "longer");
        let skipped = |at| next(at, "Europe/Berlin", "2026-03-28T12:00:00Z").remove(0);
        assert_eq!(skipped("Sun 02:15-02:45"), "2026-03-29T01:15:00Z 2026-03-29T01:45:00Z");
        assert_eq!(skipped("Sun 02:30-03:00"), "2026-04-05T00:30:00Z 2026-04-05T01:00:00Z");
    }

    /// Goal: what is none is refused.
    #[test]
    fn what_is_none() {
        for text in ["", "01:00-03:00", "Tue", "tue 01:00-03:00", "Tue 25:00-03:00", "Tue 01:00", "Tue, 01:00-02:00"] {
            assert_eq!(Windows::parse(text), None, "{text}");
        }
    }
}
