//! Trust on first use: whoever answers at an address first is remembered, and nobody else is accepted there.
//!
//! What is remembered is handed out to be saved, and given back at the next start.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol};
use spacetime_network::id::DialId;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::{KnownIdentities, Trust};
use spacetime_network::link::tls::{Tls, TlsOptions};
use spacetime_network::time::Now;

/// Remembers how its dial ended.
#[derive(Default)]
struct Visitor(Option<Result<(), CloseReason>>);

impl Protocol for Visitor {
    type Command = ();

    fn handle(&mut self, _: Now, event: Event<'_, ()>, _: &mut Net) {
        match event {
            Event::Opened { .. } => self.0 = Some(Ok(())),
            Event::DialFailed { reason, .. } => self.0 = Some(Err(reason)),
            _ => {}
        }
    }
}

struct Host;

impl Protocol for Host {
    type Command = ();

    fn handle(&mut self, _: Now, _: Event<'_, ()>, _: &mut Net) {}
}

fn with_tls(tls: &Tls) -> Config {
    let mut config = Config::default();
    config.tls = Some(tls.clone());
    config
}

/// Dials once and says how it went.
fn visit(tls: &Tls, address: SocketAddr) -> Result<Result<(), CloseReason>, Box<dyn Error>> {
    let mut driver = Driver::new(with_tls(tls), Visitor::default())?;
    driver.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(10)));
    loop {
        driver.turn(None)?;
        if let Some(ended) = driver.protocol().0 {
            return Ok(ended);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let host = Tls::new(&Identity::generate()?, Trust::Any, TlsOptions::default())?;
    let mut driver = Driver::new(with_tls(&host), Host)?;
    let address = driver.listen("127.0.0.1:0".parse()?)?;
    let stop = driver.handle();
    let runs = std::thread::spawn(move || driver.run());

    let identity = Identity::generate()?;
    let us = Tls::new(&identity, Trust::FirstUse(KnownIdentities::default()), TlsOptions::default())?;
    assert_eq!(visit(&us, address)?, Ok(()));
    let mut known = us.take_changes().ok_or("nothing was remembered")?;
    println!("{address} is {} from now on", host.id());
    assert_eq!(known.get(address), Some(host.id()));
    assert_eq!(visit(&us, address)?, Ok(()));

    // Somebody else had the address when it was met first.
    known.insert(address, Identity::generate()?.id());
    us.set_trust(Trust::FirstUse(known));
    assert_eq!(visit(&us, address)?, Err(CloseReason::Tls(TlsFault::IdentityChanged)));
    println!("{}", us.refusal(address).ok_or("no refusal was kept")?);

    stop.stop();
    runs.join().map_err(|_| "the host failed")??;
    Ok(())
}
