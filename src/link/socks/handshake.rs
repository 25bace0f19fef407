//! One conversation with a proxy: the greeting, the login if there is one, the request, and the answers to them.
//!
//! Every answer has a known length as soon as that matters, at most 262 bytes, and nothing of it is kept. A byte that has no place
//! where it comes ends the conversation at once.

use core::fmt;

use super::proxy::{Credentials, Login, Proxy, Target, put_text};
use crate::close::ProxyFault;
use crate::rng::Rng;

/// The version of the protocol.
const VERSION: u8 = 5;
/// Nobody need log in.
const NO_LOGIN: u8 = 0;
/// By user name and password (RFC 1929).
const BY_PASSWORD: u8 = 2;
/// None of what was offered.
const NO_METHOD: u8 = 0xFF;
/// The version of that login.
const LOGIN_VERSION: u8 = 1;
/// The request for a connection.
const CONNECT: u8 = 1;
/// Bytes of an answer to a request that are judged before its length is known: version, reply, a zero, the kind of the address, and
/// the first byte of that.
const ANSWER_HEAD: usize = 5;

/// A conversation under way.
pub struct Handshake {
    step: Step,
    target: Target,
    credentials: Option<Credentials>,
    /// Without a login there is no way.
    insists: bool,
    /// What is to be written, and how much of it was.
    unsent: Vec<u8>,
    written: usize,
    /// Bytes of the answer that came.
    got: usize,
    /// Bytes of the answer that are still to come, once that is known.
    left: usize,
    fault: Option<ProxyFault>,
}

/// Which answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Method,
    Login,
    /// With the kind of the address, once that is known.
    Answer {
        is_name: bool,
    },
    Done,
}

impl fmt::Debug for Handshake {
    /// Without what is written, in which a password may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("step", &self.step).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Asks `proxy` for `target`. `key` is what users per destination are made of: whoever knows it knows them.
    pub fn new(proxy: &Proxy, target: Target, key: u64) -> Self {
        let (credentials, insists) = match &proxy.login {
            Login::Nobody => (None, false),
            Login::User(credentials) => (Some(credentials.clone()), false),
            Login::PerDestination => {
                let number = Rng::from_seed(key ^ target.number()).next_u64();
                let text = format!("{number:016x}");
                (Some(Credentials { user: text.clone(), password: text }), true)
            }
        };
        let unsent = match (&credentials, insists) {
            (None, _) => vec![VERSION, 1, NO_LOGIN],
            (Some(_), false) => vec![VERSION, 2, NO_LOGIN, BY_PASSWORD],
            (Some(_), true) => vec![VERSION, 1, BY_PASSWORD],
        };
        Handshake { step: Step::Method, target, credentials, insists, unsent, written: 0, got: 0, left: 0, fault: None }
    }

    /// What is to be written to the proxy now.
    pub fn unsent(&self) -> &[u8] {
        self.unsent.get(self.written..).unwrap_or_default()
    }

    /// So many bytes of it were.
    pub fn wrote(&mut self, count: usize) {
        self.written = self.written.saturating_add(count).min(self.unsent.len());
    }

    /// How many bytes to read from the proxy before it is known whether more are its own: at least 1 until it is done.
    pub fn wanted(&self) -> usize {
        match self.step {
            Step::Method | Step::Login => 2_usize.saturating_sub(self.got),
            Step::Answer { .. } if self.got < ANSWER_HEAD => ANSWER_HEAD.saturating_sub(self.got),
            Step::Answer { .. } => self.left,
            Step::Done => 0,
        }
    }

    /// Takes what came, and leaves what is not the proxy's own. True when we are connected: what follows are the peer's bytes.
    ///
    /// # Errors
    ///
    /// Why there will be no connection. Nothing is taken any more then.
    pub fn take(&mut self, input: &mut &[u8]) -> Result<bool, ProxyFault> {
        while self.step != Step::Done {
            if let Some(fault) = self.fault {
                return Err(fault);
            }
            let Some((byte, rest)) = input.split_first() else { return Ok(false) };
            *input = rest;
            self.fault = self.judge(*byte).err();
        }
        Ok(true)
    }

    /// What it means that the proxy says nothing more in time, or that it has closed.
    pub fn silence(&self, is_closed: bool) -> ProxyFault {
        match (self.step, is_closed) {
            (Step::Method | Step::Login, true) => ProxyFault::Cut,
            (Step::Method | Step::Login, false) => ProxyFault::Silent,
            (Step::Answer { .. } | Step::Done, true) => ProxyFault::Dropped,
            (Step::Answer { .. } | Step::Done, false) => ProxyFault::Expired,
        }
    }

    fn judge(&mut self, byte: u8) -> Result<(), ProxyFault> {
        let at = self.got;
        self.got = self.got.saturating_add(1);
        match (self.step, at) {
            (Step::Method, 0) if byte != VERSION => return Err(ProxyFault::NotSocks),
            (Step::Method, 0) => {}
            (Step::Method, _) => match byte {
                NO_LOGIN if !self.insists => self.ask(),
                BY_PASSWORD if self.credentials.is_some() => self.log_in(),
                NO_METHOD => return Err(ProxyFault::NoMethod),
                _ => return Err(ProxyFault::Protocol),
            },
            (Step::Login, 0) if byte != LOGIN_VERSION => return Err(ProxyFault::Protocol),
            (Step::Login, 0) => {}
            (Step::Login, _) if byte != 0 => return Err(ProxyFault::CredentialsRefused),
            (Step::Login, _) => self.ask(),
            (Step::Answer { .. }, 0) if byte != VERSION => return Err(ProxyFault::Protocol),
            (Step::Answer { .. }, 1) => ProxyFault::of_reply(byte).map_or(Ok(()), Err)?,
            (Step::Answer { .. }, 2) if byte != 0 => return Err(ProxyFault::Protocol),
            // From where we are connected says nothing that we use: address and port are passed over.
            (Step::Answer { .. }, 3) => match byte {
                1 => self.left = 4 + 2,
                3 => self.step = Step::Answer { is_name: true },
                4 => self.left = 16 + 2,
                _ => return Err(ProxyFault::Protocol),
            },
            (Step::Answer { is_name: true }, 4) => self.left = usize::from(byte).saturating_add(2),
            (Step::Answer { .. }, 4..) => {
                self.left = self.left.saturating_sub(1);
                if self.left == 0 {
                    self.step = Step::Done;
                }
            }
            (Step::Answer { .. }, _) | (Step::Done, _) => {}
        }
        Ok(())
    }

    fn log_in(&mut self) {
        let mut bytes = vec![LOGIN_VERSION];
        if let Some(Credentials { user, password }) = &self.credentials {
            put_text(&mut bytes, user);
            put_text(&mut bytes, password);
        }
        self.say(Step::Login, bytes);
    }

    fn ask(&mut self) {
        let mut bytes = vec![VERSION, CONNECT, 0];
        self.target.put(&mut bytes);
        self.say(Step::Answer { is_name: false }, bytes);
    }

    /// Behind what is not written yet, where somebody answers before he is asked.
    fn say(&mut self, step: Step, bytes: Vec<u8>) {
        self.unsent.drain(..self.written.min(self.unsent.len()));
        self.unsent.extend(bytes);
        (self.step, self.got, self.written) = (step, 0, 0);
    }
}
