//! The program's allocator: mimalloc, told to keep what is free for half a minute before it gives it back to the system.
//!
//! Much of what one thread makes another lets go of: with the system's allocator a live run takes a seventh more processor time.
//! Every epoch lets go of nearly all it has taken, and the next one takes as much again: with mimalloc's own second of patience a
//! replay takes 7 to 14 % more processor time than if nothing were given back at all (and 40 MB less memory).
//! The tests of the library keep the system's allocator.

#![allow(unsafe_code)]

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long what is free is kept, in milliseconds; `mi_option_purge_delay` of mimalloc.h, which the bindings do not name.
const PURGE_DELAY: mi_option_t = 15;

const HALF_A_MINUTE: std::ffi::c_long = 30_000;

/// To be called first of all. Who sets `MIMALLOC_PURGE_DELAY` in the environment knows better.
pub fn keep_what_is_free() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_some() {
        return;
    }
    // SAFETY: mimalloc stores the number for an option that it has, and takes any number for it at any time.
    unsafe { mi_option_set(PURGE_DELAY, HALF_A_MINUTE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_that_is_set_is_the_patience_of_a_second() {
        // SAFETY: reads the number of an option.
        let patience = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(
            patience(),
            1_000,
            "what mimalloc says of itself: else the option has another number now"
        );
        keep_what_is_free();
        assert_eq!(patience(), HALF_A_MINUTE);
    }
}
