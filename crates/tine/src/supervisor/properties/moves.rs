//! What the world may do to a supervisor, drawn at random.

use proptest::prelude::*;

use super::super::event::{Command, Exit};
use super::super::state::{Nanos, SECOND};
use super::super::trial::Canary;

/// What the random player may do; numbers pick among those it applies to.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Ready(usize),
    Exit(usize, Exit),
    Expiring(usize),
    Leaving(usize),
    Halt(usize),
    Continue(usize),
    Overrun(usize),
    Weigh(usize, u64),
    Busy(u32, u32),
    FailForks(bool),
    Observe(u64, u64),
    Command(Command),
    Wait(Nanos),
    UntilDeadline,
}

pub(super) fn moves() -> impl Strategy<Value = Move> {
    let exits = prop_oneof![
        Just(Exit::Clean),
        Just(Exit::BootFailed),
        Just(Exit::Code(1)),
        Just(Exit::OutOfMemory),
        Just(Exit::Signal { number: 9, core: false }),
        Just(Exit::Signal { number: 11, core: true }),
    ];
    let commands = prop_oneof![
        Just(Command::Reload),
        (1_u32..1000, any::<bool>()).prop_map(|(share, hold)| {
            let observe = std::time::Duration::from_secs(2);
            Command::Rollout(Canary { share, requests: 10, observe, errors: 10, hold })
        }),
        Just(Command::Promote),
        Just(Command::Abort),
        Just(Command::Grow),
        Just(Command::Shrink),
        Just(Command::Nothing),
    ];
    prop_oneof![
        8 => any::<usize>().prop_map(Move::Ready),
        4 => (any::<usize>(), exits).prop_map(|(who, how)| Move::Exit(who, how)),
        2 => any::<usize>().prop_map(Move::Expiring),
        2 => any::<usize>().prop_map(Move::Leaving),
        1 => any::<usize>().prop_map(Move::Halt),
        1 => any::<usize>().prop_map(Move::Continue),
        1 => any::<usize>().prop_map(Move::Overrun),
        2 => (any::<usize>(), 0_u64..200).prop_map(|(who, bytes)| Move::Weigh(who, bytes)),
        4 => (0_u32..40, 0_u32..40).prop_map(|(busy, queued)| Move::Busy(busy, queued)),
        1 => any::<bool>().prop_map(Move::FailForks),
        2 => (0_u64..20, 0_u64..2).prop_map(|(done, failed)| Move::Observe(done, failed)),
        3 => commands.prop_map(Move::Command),
        4 => (0_u64..3 * SECOND).prop_map(Move::Wait),
        4 => Just(Move::UntilDeadline),
    ]
}
