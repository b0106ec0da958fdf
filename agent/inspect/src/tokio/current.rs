//! Where a thread keeps the id of the task that it polls: the word of its own data that `TaskIdGuard::enter`
//! replaces by the id that stands in the task, at the place that the task's table names.

use std::collections::{BTreeMap, BTreeSet};

use super::functions::{Functions, Value};
use super::tables::{Pointers, Task};
use crate::elf::Image;

/// Functions that are looked into of each kind of task, from `poll` on.
const MAX_FUNCTIONS: usize = 24;
const MAX_DEPTH: usize = 3;
/// Kinds of task that must say the same.
const MIN_TASKS: usize = 2;

/// Distance from the thread pointer (wraps around). The error is the reason for the user.
pub(super) fn find(
    image: &Image<'_>,
    pointers: &Pointers<'_, '_>,
    tasks: &[Task],
) -> Result<u64, &'static str> {
    let mut functions = Functions::new(image, pointers);
    let mut places: BTreeMap<i64, usize> = BTreeMap::new();
    for task in tasks {
        for place in replaced(&mut functions, task) {
            *places.entry(place).or_default() += 1;
        }
    }
    let mut places = places.into_iter();
    match (places.next(), places.next()) {
        (Some((place, count)), None) if count >= MIN_TASKS => Ok(place.cast_unsigned()),
        (Some(_), None) => Err("too few kinds of task say where a thread keeps the id of its task"),
        (Some(_), Some(_)) => Err("where a thread keeps the id of its task is ambiguous"),
        (None, _) => Err("where a thread keeps the id of its task is not found"),
    }
}

/// Places in the thread's data that are replaced by the task's id while it is polled.
fn replaced(functions: &mut Functions<'_, '_>, task: &Task) -> BTreeSet<i64> {
    let is_id = |value: Value| {
        // `Core` begins with the scheduler.
        [task.id, task.id - task.scheduler]
            .into_iter()
            .any(|offset| value == Value::Field(offset.cast_signed()))
    };
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::from([task.poll]);
    let mut level = vec![task.poll];
    for _ in 0..=MAX_DEPTH {
        let mut next = Vec::new();
        for start in level {
            let function = functions.function(start).clone();
            let swaps = function.swaps.iter().filter(|swap| is_id(swap.by));
            found.extend(swaps.map(|swap| swap.place));
            for call in &function.calls {
                if is_id(call.argument) {
                    let swaps = functions.function(call.target).swaps.iter();
                    let swaps = swaps.filter(|swap| swap.by == Value::Argument);
                    found.extend(swaps.map(|swap| swap.place));
                }
                if seen.len() < MAX_FUNCTIONS && seen.insert(call.target) {
                    next.push(call.target);
                }
            }
        }
        level = next;
    }
    found
}
