//! Where the newest frame waits for the detector.

use super::tally::Tally;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A place for one frame. A newer one takes the place of one that still waits, so that a slow detector loses old frames
/// and never falls behind.
#[derive(Debug)]
pub(super) struct Intake<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct Slot<T> {
    frame: Option<T>,
    closed: bool,
}

impl<T> Intake<T> {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self { slot: Mutex::new(Slot { frame: None, closed: false }), changed: Condvar::new(), tally }
    }

    /// Leaves a frame for the detector; counts one that waited in its place as dropped.
    pub(super) fn put(&self, frame: T) {
        self.tally.receive();
        let mut slot = self.lock();
        if slot.closed || slot.frame.is_some() {
            self.tally.drop_one();
        }
        if !slot.closed {
            slot.frame = Some(frame);
            self.changed.notify_one();
        }
    }

    /// The newest frame, once there is one; `None` when the intake is closed.
    pub(super) fn take(&self) -> Option<T> {
        let waiting = |slot: &mut Slot<T>| slot.frame.is_none() && !slot.closed;
        let slot = self.changed.wait_while(self.lock(), waiting);
        slot.unwrap_or_else(PoisonError::into_inner).frame.take()
    }

    /// Drops the frame that waits and lets nothing more through.
    pub(super) fn close(&self) {
        let mut slot = self.lock();
        slot.closed = true;
        if slot.frame.take().is_some() {
            self.tally.drop_one();
        }
        self.changed.notify_all();
    }

    /// Whether frames are still wanted.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether a frame waits.
    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        self.lock().frame.is_some()
    }

    /// Nothing panics while it holds the lock, and the slot is whole at any time.
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_newest_frame_wins_and_the_others_are_counted() {
        let tally = Arc::new(Tally::default());
        let intake = Intake::new(tally.clone());
        for frame in 1..=3 {
            intake.put(frame);
        }
        assert_eq!(intake.take(), Some(3));
        intake.put(4);
        assert_eq!(intake.take(), Some(4));
        assert_eq!(tally.to_string(), "frames received 4 processed 0 dropped 2 refused 0");
    }

    #[test]
    fn a_waiting_taker_gets_the_frame_and_is_let_go_by_closing() {
        let intake = Arc::new(Intake::new(Arc::default()));
        let taker = thread::spawn({
            let intake = intake.clone();
            move || (intake.take(), intake.take())
        });
        intake.put(1);
        // The first frame must be taken before closing would drop it.
        while intake.is_waiting() {
            thread::yield_now();
        }
        intake.close();
        assert_eq!(taker.join().unwrap(), (Some(1), None));
    }

    #[test]
    fn closing_drops_what_waits_and_what_comes_later() {
        let tally = Arc::new(Tally::default());
        let intake = Intake::new(tally.clone());
        intake.put(1);
        intake.close();
        intake.put(2);
        assert!(intake.is_closed());
        assert_eq!(intake.take(), None);
        assert_eq!(tally.to_string(), "frames received 2 processed 0 dropped 2 refused 0");
    }
}
