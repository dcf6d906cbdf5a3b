//! The parquet library takes some of what a file says of itself for granted. Here is what keeps a file that
//! lies from ending the process: sizes are checked before memory is asked for, and a panic is an error.

use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside the library.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns, or an error where it panics; the panic prints nothing. What it was working on is
/// not to be used again.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                before(panic);
            }
        }));
    });
    IS_GUARDED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    IS_GUARDED.set(false);
    let contradicts = |_| ParquetError::General("one that contradicts itself".to_string());
    outcome.map_err(contradicts).flatten()
}

/// The pages of a column of texts, none of which has more texts in its dictionary than bytes allow.
pub(super) struct Pages(pub Box<dyn PageReader>);

/// A text of a dictionary is stored behind its length.
const LENGTH: usize = 4;

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.0.get_next_page()?;
        match &page {
            Some(Page::DictionaryPage { buf, num_values, .. })
                if *num_values as usize > buf.len() / LENGTH =>
            {
                let found = format!("a dictionary of {num_values} texts in {} bytes", buf.len());
                Err(ParquetError::General(found))
            }
            _ => Ok(page),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.0.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.0.at_record_boundary()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
