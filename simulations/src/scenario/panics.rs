//! Panics of simulated nodes. The runtime swallows what a task panics with; here it is a violation.

use std::cell::RefCell;
use std::panic::PanicHookInfo;
use std::sync::Once;

thread_local! {
    static CAUGHT: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Begins to take note of panics on simulated threads; on others everything stays as it was.
pub(super) fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some("world") {
                CAUGHT.with_borrow_mut(|caught| caught.push(told(panic)));
            } else {
                usual(panic);
            }
        }));
    });
}

/// The panics of this thread since the last question.
pub(super) fn take() -> Vec<String> {
    CAUGHT.take()
}

fn told(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("{}{place}", text.unwrap_or("something that is no text"))
}
