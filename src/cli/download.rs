//! How a download goes, told to a person on stderr: a bar on a terminal, plain lines elsewhere.

use copla::Result;
use copla::formats::hub::Observer;
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Downloads, and tells of it until it is over.
pub fn told<T>(download: impl FnOnce(&mut dyn Observer) -> Result<T>) -> Result<T> {
    let mut teller = Teller::new();
    let downloaded = download(&mut teller);
    teller.bar.finish_and_clear();
    downloaded
}

struct Teller {
    bar: ProgressBar,
    file: String,
    /// When the last plain line was printed.
    told: Instant,
}

/// Between plain lines.
const QUIET: Duration = Duration::from_secs(5);

impl Teller {
    fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            let style = "{bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
            let style = ProgressStyle::with_template(style)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::no_length().with_style(style)
        } else {
            ProgressBar::hidden()
        };
        Teller { bar, file: String::new(), told: Instant::now() }
    }
}

impl Observer for Teller {
    fn note(&mut self, line: &str) {
        self.bar.suspend(|| super::note(format_args!("copla: {line}")));
    }

    fn received(&mut self, file: &str, bytes: u64, size: Option<u64>) {
        let is_new = self.file != file;
        if is_new {
            self.file = file.to_string();
            self.bar.set_message(self.file.clone());
            // What an earlier download brought says nothing of this one's speed.
            self.bar.reset();
        }
        if let Some(size) = size {
            self.bar.set_length(size);
        }
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && (is_new || self.told.elapsed() >= QUIET) {
            self.told = Instant::now();
            let size = size.map_or("?".to_string(), |size| DecimalBytes(size).to_string());
            super::note(format_args!("downloading {file}: {} of {size}", DecimalBytes(bytes)));
        }
    }
}
