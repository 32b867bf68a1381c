//! A budget of false alarms, as people say it: `1/device/day`, `5/day`, `20`.

use std::fmt;
use std::str::FromStr;

const DAY: f64 = 86_400_000_000.0;

/// How many false alarms are tolerable.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    text: String,
    number: f64,
    per_device: bool,
    /// In days; `None`: in all.
    per: Option<f64>,
}

/// How long something was watched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Watched {
    pub(super) devices: usize,
    /// Microseconds, all devices added up.
    pub(super) device_time: i64,
    /// Microseconds in which anything came at all.
    pub(super) time: i64,
}

impl Watched {
    pub(super) fn device_days(&self) -> f64 {
        self.device_time as f64 / DAY
    }
}

impl Budget {
    /// How many false alarms it allows in all.
    pub(super) fn allows(&self, watched: &Watched) -> f64 {
        match (self.per, self.per_device) {
            (None, false) => self.number,
            (None, true) => self.number * watched.devices as f64,
            (Some(days), true) => self.number * watched.device_time as f64 / (DAY * days),
            (Some(days), false) => self.number * watched.time as f64 / (DAY * days),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        let wrong = || {
            "give how many false alarms are tolerable, as 1/device/day, 0.5/device/week, 5/day, 2/hour, or 20 for the whole input".to_owned()
        };
        let text = text.trim();
        let mut parts = text.split('/').map(str::trim);
        let number = parts.next().and_then(|number| number.parse::<f64>().ok());
        let number = number
            .filter(|number| number.is_finite() && *number >= 0.0)
            .ok_or_else(wrong)?;
        let (mut per_device, mut per) = (false, None);
        for part in parts {
            let days = match part {
                "device" if !per_device && per.is_none() => {
                    per_device = true;
                    continue;
                }
                "hour" => 1.0 / 24.0,
                "day" => 1.0,
                "week" => 7.0,
                _ => return Err(wrong()),
            };
            if per.replace(days).is_some() {
                return Err(wrong());
            }
        }
        Ok(Budget {
            text: text.to_owned(),
            number,
            per_device,
            per,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_people_say_them() {
        let watched = Watched {
            devices: 4,
            device_time: 28 * DAY as i64,
            time: 14 * DAY as i64,
        };
        for (text, allowed) in [
            ("20", 20.0),
            ("0", 0.0),
            ("1/device/day", 28.0),
            (" 0.5 / device / week ", 2.0),
            ("2/day", 28.0),
            ("1/hour", 336.0),
            ("3/device", 12.0),
        ] {
            assert_eq!(
                text.parse::<Budget>().map(|budget| budget.allows(&watched)),
                Ok(allowed),
                "{text}"
            );
        }
        for text in [
            "",
            "x",
            "-1/day",
            "inf",
            "1/day/device",
            "1/day/day",
            "1/month",
            "1/device/device",
            "1/",
        ] {
            let error = text.parse::<Budget>().expect_err(text);
            assert!(error.contains("1/device/day"), "{error}");
        }
    }
}
