//! Users at work: the operations of the deployment file, executed and measured.
//!
//! What it does: an [`Actor`] is one user at a front end. It does an operation step by step with a [`caps_frontend::Client`] and says how long
//! each step felt; [`work`] has it do so again and again at the pace that `[[users]]` says; a [`Tally`] holds what comes out against the limit.
//!
//! What it never does: read a clock but the runtime's, or draw randomness but from what it is given. So the same code runs over real lines and
//! in virtual time, and where a fresh front end comes from is the caller's ([`Arrivals`]).
//!
//! Start reading at [`Actor`].

mod actor;
mod mail;
mod measured;
mod memory;
mod pace;
mod run;
mod tally;

pub use actor::{Actor, ArrivalError, Arrivals};
pub use measured::{Measured, MeasuredStep, Outcome, StepError, Watched};
pub use pace::work;
pub use run::Run;
pub use tally::{Tally, Verdict};
