//! The vault's audit: who looked at which patient, and when. In: an action. Out: a row in the database.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, params};

/// Writes one row; `false` if the vault may only be read by this user.
pub(super) fn record(connection: &Connection, action: &str, patient: &str) -> rusqlite::Result<bool> {
    let written = connection.execute(
        "INSERT INTO audit(at, who, action, patient) VALUES (?1, ?2, ?3, ?4)",
        params![now_micros(), user(), action, patient],
    );
    match written {
        Ok(_) => Ok(true),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(false),
        Err(e) => Err(e),
    }
}

/// A clock before 1970 counts as 1970.
fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The user by the operating system's word, not by a variable that anyone may set: `name (uid N)`, or
/// `uid N` where the local table of users has no such number.
fn user() -> String {
    let number = rustix::process::getuid().as_raw();
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match name_of(number, &table) {
        Some(name) => format!("{name} (uid {number})"),
        None => format!("uid {number}"),
    }
}

/// Lines of passwd(5) are name:password:uid:…
fn name_of(number: u32, table: &str) -> Option<&str> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_by_their_number() {
        let table = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nada:x:1815:1:Ada:/home/ada:/bin/sh\n";
        assert_eq!(name_of(1815, table), Some("ada"));
        assert_eq!(name_of(0, table), Some("root"));
        assert_eq!(name_of(1, table), None);
        assert!(user().contains("uid"));
    }
}
