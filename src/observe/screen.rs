//! The live view of a run on a terminal.
//!
//! In: a [`View`] now and then, the keys. Out: the whole screen, drawn anew. It asks for the end on Ctrl-C and q, since a
//! terminal in this mode sends no signals.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::board::{COURSE, Sight, View};
use super::figures::{grouped, of_day, span};

/// Whether there is a terminal to give back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A terminal taken over until it is dropped.
pub struct Screen {
    terminal: DefaultTerminal,
    title: String,
    threshold: f64,
}

impl Screen {
    /// Takes the terminal over. `title` stands above, scores at `threshold` or more are drawn as anomalies.
    ///
    /// # Errors
    /// A terminal that cannot be controlled.
    pub fn open(title: String, threshold: f64) -> io::Result<Screen> {
        TAKEN.store(true, Ordering::SeqCst);
        Ok(Screen {
            terminal: ratatui::try_init()?,
            title,
            threshold,
        })
    }

    /// Draws it.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn draw(&mut self, view: &View) -> io::Result<()> {
        let (title, threshold) = (&self.title, self.threshold);
        self.terminal.draw(|frame| draw(frame, title, threshold, view))?;
        Ok(())
    }

    /// Waits for a key; whether it asks for the end.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub fn asks_to_end(&self, wait: Duration) -> io::Result<bool> {
        if !event::poll(wait)? {
            return Ok(false);
        }
        Ok(match event::read()? {
            Event::Key(key) => {
                key.code == KeyCode::Char('q')
                    || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL))
            }
            _ => false,
        })
    }

    /// Gives a terminal back, from wherever the process ends. Does nothing to one that was not taken.
    pub fn give_back() {
        if TAKEN.swap(false, Ordering::SeqCst) {
            ratatui::restore();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Screen::give_back();
    }
}

fn draw(frame: &mut Frame<'_>, title: &str, threshold: f64, view: &View) {
    let groups = view.groups.len() as u16 + 3;
    let areas = Layout::vertical([
        Constraint::Length(5),
        Constraint::Length(groups),
        Constraint::Min(4),
        Constraint::Length(1),
    ]);
    let [counts, scores, anomalies, keys] = areas.areas(frame.area());
    draw_counts(frame, counts, title, view);
    draw_scores(frame, scores, threshold, view);
    draw_anomalies(frame, anomalies, view);
    let last = match &view.notice {
        Some(notice) => Line::from(format!(" {notice}")).yellow(),
        None => Line::from(" Ctrl-C ends: what has come is committed").dim(),
    };
    frame.render_widget(Paragraph::new(last), keys);
}

fn draw_counts(frame: &mut Frame<'_>, area: Rect, title: &str, view: &View) {
    let figure = |value: String, what: &'static str| [Span::from(value).bold(), Span::from(what)];
    let first = [
        figure(format!("{:>7.0}", view.records_per_second), " records/s    "),
        figure(grouped(view.records), " records    "),
        figure(grouped(view.readings), " readings    "),
        figure(grouped(view.anomalies), " anomalies"),
    ];
    let quarantined = view.tally.quarantined.values().sum::<u64>();
    let committed = [
        figure(format!("{:>7}", view.commits), " commits      "),
        figure(grouped(view.tally.readings), " readings on disk    "),
        figure(grouped(view.tally.windows), " windows    "),
        figure(grouped(quarantined), " in quarantine    "),
        figure(grouped(view.tally.duplicates), " copies dropped"),
    ];
    let event_time = match (&view.lost, view.watermark, view.lag) {
        (Some(why), ..) => Line::from(format!(" no connection: {why}")).red(),
        (None, Some(watermark), Some(lag)) => Line::from(format!(
            " watermark {}, {} behind the clock",
            of_day(watermark),
            span(lag)
        )),
        _ => Line::from(" waiting for the first record"),
    };
    let text = vec![
        Line::from_iter(first.into_iter().flatten()),
        Line::from_iter(committed.into_iter().flatten()),
        event_time,
    ];
    let uptime = view.uptime.as_secs();
    let block = Block::bordered()
        .title(format!(" {title} ").bold())
        .title_top(Line::from(format!(" {}:{:02} ", uptime / 60, uptime % 60)).right_aligned());
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn draw_scores(frame: &mut Frame<'_>, area: Rect, threshold: f64, view: &View) {
    let rows = view.groups.iter().map(|(manufacturer, group)| {
        let score = match group.score {
            Some(score) => format!("{score:.2}"),
            None => "learning".into(),
        };
        Row::new([
            Cell::from(manufacturer.to_string()),
            Cell::from(grouped(group.readings)),
            Cell::from(score),
            Cell::from(grouped(group.anomalies)),
            Cell::from(course(group.course.iter().copied(), threshold)),
        ])
    });
    let widths = [
        Constraint::Length(16),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Min(COURSE as u16),
    ];
    let header = [
        "manufacturer",
        "readings",
        "score",
        "anomalies",
        "highest score, second by second",
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().dim()))
        .block(Block::bordered().title(" Scores "));
    frame.render_widget(table, area);
}

fn draw_anomalies(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let rows = view.latest.iter().map(|sight| {
        Row::new([
            Cell::from(of_day(sight.timestamp)),
            Cell::from(format!("{:.2}", sight.score)).style(Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)),
            Cell::from(sight.device.to_string()),
            Cell::from(sight.manufacturer.to_string()),
            Cell::from(explained(sight)),
        ])
    });
    let widths = [
        Constraint::Length(12),
        Constraint::Length(6),
        Constraint::Length(16),
        Constraint::Length(16),
        Constraint::Min(20),
    ];
    let header = ["time", "score", "device", "manufacturer", "because of"];
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().dim()))
        .block(Block::bordered().title(" Latest anomalies "));
    frame.render_widget(table, area);
}

/// `pulse 182 (71 %), systolic 84 (12 %)`.
pub fn explained(sight: &Sight) -> String {
    let parts = sight.parts.iter().map(|(measure, value, share)| {
        let value = match value.is_nan() {
            true => "missing".into(),
            false => value.to_string(),
        };
        format!("{measure} {value} ({:.0} %)", 100.0 * share)
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// One bar for each second; those that reach the threshold in red.
fn course(scores: impl Iterator<Item = f64>, threshold: f64) -> Line<'static> {
    const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    let highest = (threshold * 1.5).max(1e-9);
    Line::from_iter(scores.map(|score| {
        let bar = BARS[((score / highest * 8.0) as usize).min(7)];
        match score >= threshold {
            true => Span::from(bar).red(),
            false => Span::from(bar).cyan(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::Board;
    use super::*;
    use crate::commit::Tally;
    use crate::record::{DeviceId, Reading, Scored};

    #[test]
    fn an_anomaly_is_on_the_screen_with_what_makes_it_strange() {
        let board = Board::new(vec!["pulse".into(), "systolic".into()], 0);
        let reading = Reading {
            position: 0,
            timestamp: 0,
            received: i64::MAX,
            device: DeviceId::new("monitor-7"),
            patient: Some("someone".into()),
            measures: [182.0, 84.0].as_slice().into(),
            fingerprint: 0,
            facts: None,
            late: false,
        };
        board.readings(&[Scored {
            reading,
            score: Some(3.0),
            attribution: Some(Box::from([(2.1, 0.0), (0.0, 0.9)])),
            threshold: Some(2.0),
        }]);
        board.progress(1_234_567, 0, &Tally::default());
        let mut terminal = Terminal::new(TestBackend::new(100, 24)).expect("a screen in memory");
        terminal
            .draw(|frame| draw(frame, "realtime_analytics", 2.0, &board.view()))
            .expect("a screen in memory");
        let shown = terminal.backend().to_string();
        for part in [
            "monitor-7",
            "3.00",
            "pulse 182 (70 %), systolic 84 (30 %)",
            "1,234,567",
            "unknown",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(!shown.contains("someone"));

        board.notice("device collection: 3 added");
        terminal
            .draw(|frame| draw(frame, "realtime_analytics", 2.0, &board.view()))
            .expect("a screen in memory");
        assert!(terminal.backend().to_string().contains("collection: 3 added"));
    }
}
