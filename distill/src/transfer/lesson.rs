//! Batches with what the teacher sees in them, made ahead of the training step.

use super::TransferError;
use crate::{
    data::{Batch, Loader},
    teacher::{FeatureMap, Teacher},
};
use std::{
    panic,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How many lessons wait ready, beside the batches that wait for the teacher.
const AHEAD: usize = 2;

/// A batch and the teacher's features of its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The pictures and labels.
    pub batch: Batch,
    /// One map for each tensor of [`super::Transfer::tensors`]; none in a stage without transfer.
    pub features: Vec<FeatureMap>,
    /// Pictures of the batch whose features came from the cache; in a part of a lesson those of the whole one.
    pub cached: usize,
    /// How long the teacher waited for the batch; without one, no bound on how long a learner may.
    pub waited: Duration,
}

impl Lesson {
    /// A batch that no teacher looks at.
    pub fn without_teacher(batch: Batch) -> Self {
        Self { batch, features: Vec::new(), cached: 0, waited: Duration::MAX }
    }

    /// The lesson in `parts` equal parts.
    pub fn split(self, parts: usize) -> Vec<Self> {
        let mut lessons: Vec<Self> = self
            .batch
            .split(parts)
            .into_iter()
            .map(|batch| Self { batch, features: Vec::new(), cached: self.cached, waited: self.waited })
            .collect();
        for map in self.features {
            lessons.iter_mut().zip(map.split(parts)).for_each(|(lesson, part)| lesson.features.push(part));
        }
        lessons
    }
}

/// Yields lessons in the order of their batches; the teacher works in a thread of its own.
pub struct Lessons {
    lessons: Receiver<Result<Lesson, TransferError>>,
    thread: Option<JoinHandle<()>>,
}

impl Lessons {
    /// Lets the teacher look at these batches; `tensors` are the names of its taps.
    pub(super) fn start(batches: Loader, teacher: &Arc<Mutex<Teacher>>, tensors: &[String]) -> Self {
        let (sender, lessons) = sync_channel(AHEAD);
        let (teacher, tensors) = (teacher.clone(), tensors.to_vec());
        let thread = thread::spawn(move || {
            // Nothing of a teacher's is half done where a thread was broken off.
            let mut teacher = teacher.lock().unwrap_or_else(PoisonError::into_inner);
            let mut free = Instant::now();
            for batch in batches {
                let waited = free.elapsed();
                let lesson = batch.map_err(TransferError::from);
                let lesson = lesson.and_then(|batch| lesson_of(batch, waited, &mut teacher, &tensors));
                let failed = lesson.is_err();
                // The receiver is gone when the run has ended early.
                if sender.send(lesson).is_err() || failed {
                    return;
                }
                free = Instant::now();
            }
        });
        Self { lessons, thread: Some(thread) }
    }
}

impl Iterator for Lessons {
    type Item = Result<Lesson, TransferError>;

    fn next(&mut self) -> Option<Self::Item> {
        let lesson = self.lessons.recv().ok();
        if lesson.is_none()
            && let Some(Err(cause)) = self.thread.take().map(JoinHandle::join)
        {
            panic::resume_unwind(cause);
        }
        lesson
    }
}

fn lesson_of(batch: Batch, waited: Duration, teacher: &mut Teacher, tensors: &[String]) -> Result<Lesson, TransferError> {
    let before = teacher.cached();
    let features = teacher.features(&batch)?;
    for (map, tensor) in features.iter().zip(tensors) {
        let fail = |reason| Err(TransferError::Features { tensor: tensor.clone(), reason });
        if map.values.iter().any(|value| !value.is_finite()) {
            return fail("holds values that are no numbers");
        }
        if map.values.iter().all(|value| *value == 0.0) {
            return fail("is zero everywhere in a whole batch: it has nothing to teach");
        }
    }
    Ok(Lesson { batch, features, cached: teacher.cached() - before, waited })
}
