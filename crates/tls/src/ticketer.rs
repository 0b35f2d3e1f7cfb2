//! Session tickets with the keys that all workers share ([`crate::ticket_keys`]).
//!
//! AES-256-GCM-SIV (RFC 8452): it bears a nonce that comes twice, so random ones do however many tickets a
//! key makes.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;
use tine::Region;

use crate::ticket_keys::{self, NAME_BYTES, TicketKey};

/// The longest life of a ticket, in seconds (RFC 8446, 4.6.1).
const LIFE_MAX: u64 = 7 * 86_400;

/// See the module.
pub(crate) struct Ticketer {
    region: Region,
    /// A key is the current one for so long.
    period: Duration,
    /// What was last read: a ticket costs no more than the look whether it is still so.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    current: u64,
    keys: Vec<(TicketKey, LessSafeKey)>,
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").finish_non_exhaustive()
    }
}

impl Ticketer {
    pub(crate) fn new(region: &Region, period: Duration) -> Self {
        let _ = region.keep_out_of_cores();
        Self { region: region.clone(), period, known: Mutex::default() }
    }

    /// Does something with the keys there are, the current one first.
    fn with<T>(&self, f: impl FnOnce(&[(TicketKey, LessSafeKey)]) -> T) -> T {
        let now = tine::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let current = ticket_keys::current(&self.region);
        let keys_end = || !known.keys.iter().all(|(key, _)| key.is_good(self.period, now));
        if current != known.current || known.keys.is_empty() || keys_end() {
            known.current = current;
            let keys = ticket_keys::all(&self.region, self.period, now).into_iter();
            let ready = keys.filter_map(|key| {
                let cipher = UnboundKey::new(&AES_256_GCM_SIV, &key.key).ok()?;
                Some((key, LessSafeKey::new(cipher)))
            });
            known.keys = ready.collect();
        }
        f(&known.keys)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.period.as_secs().saturating_mul(2).min(LIFE_MAX)).unwrap_or(u32::MAX)
    }

    /// The key's name, the nonce, and the session under both.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        self.with(|keys| {
            let (current, cipher) = keys.first()?;
            let mut sealed = plain.to_vec();
            let aad = Aad::from(current.name);
            cipher
                .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
                .ok()?;
            Some([&current.name[..], &nonce, &sealed].concat())
        })
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut plain = sealed.to_vec();
        let length = self.with(|keys| {
            let (_, cipher) = keys.iter().find(|(key, _)| key.name == *name)?;
            let nonce = Nonce::assume_unique_for_key(*nonce);
            cipher.open_in_place(nonce, Aad::from(*name), &mut plain).ok().map(|it| it.len())
        })?;
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket_keys::{NAME, VERSION, WORDS, rotate};

    const PERIOD: Duration = Duration::from_secs(3600);

    /// Two workers' ticketers, and a rotation.
    fn two() -> (Ticketer, Ticketer, impl Fn()) {
        let region = Region::create(NAME, VERSION, WORDS).expect("a region");
        let force = region.clone();
        let rotate = move || {
            let _ = rotate(&force, Duration::ZERO, tine::now());
        };
        rotate();
        (Ticketer::new(&region, PERIOD), Ticketer::new(&region, PERIOD), rotate)
    }

    #[test]
    fn a_ticket_of_one_worker_is_good_in_another_until_its_key_is_three_rotations_old() {
        let (one, other, rotate) = two();
        let ticket = one.encrypt(b"a session").expect("there is a key");
        for _ in 0..3 {
            assert_eq!(other.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
            rotate();
        }
        assert_eq!(other.decrypt(&ticket), None);
        let again = other.encrypt(b"another").expect("there is a key");
        assert_eq!(one.decrypt(&again).as_deref(), Some(&b"another"[..]));
    }

    #[test]
    fn a_ticket_that_is_none_is_refused() {
        let (one, other, _) = two();
        let ticket = one.encrypt(b"a session").expect("there is a key");
        assert_ne!(
            ticket,
            one.encrypt(b"a session").expect("another"),
            "nobody sees it is the same"
        );
        for length in 0..ticket.len() {
            assert_eq!(other.decrypt(&ticket[..length]), None, "{length} bytes");
        }
        for at in 0..ticket.len() {
            let mut wrong = ticket.clone();
            wrong[at] ^= 1;
            assert_eq!(other.decrypt(&wrong), None, "byte {at}");
        }
    }

    #[test]
    fn without_a_key_there_are_no_tickets() {
        let region = Region::create(NAME, VERSION, WORDS).expect("a region");
        let ticketer = Ticketer::new(&region, PERIOD);
        assert_eq!(ticketer.encrypt(b"a session"), None);
        assert_eq!((ticketer.lifetime(), ticketer.decrypt(&[0; 64])), (7200, None));
    }
}
