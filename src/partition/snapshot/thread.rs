//! The snapshot thread: restores, and then writes a round of snapshots in every interval until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::context::Context;
use super::control::Stop;
use super::rounds::Rounds;

/// Runs until a stop is requested. `restored` is notified once everything is restored.
pub fn run(context: Context, restored: oneshot::Sender<()>) {
    let context = Arc::new(context);
    let interval = context.config.interval;
    let mut rounds = Rounds::new(context.clone());
    rounds.restorer.restore_all();
    // The receiver may be gone.
    let _ = restored.send(());

    let mut pause = interval;
    loop {
        match rounds.restorer.wait(pause) {
            Some(Stop::Immediately) => return,
            Some(Stop::AfterLastRound) => break,
            None => {}
        }
        let began = context.uptime();
        rounds.write_round(interval / 2);
        pause = interval.saturating_sub(context.uptime().saturating_sub(began));
    }
    rounds.write_round(Duration::ZERO);
}
