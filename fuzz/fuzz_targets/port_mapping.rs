//! Any story of datagrams, results, networks and time: the machine never sleeps for good before its end, does a bounded number of things
//! for each input, and ends within two seconds of a stop.
//!
//! Input: one byte for each thing that happens, and what belongs to it.

#![no_main]

use std::net::IpAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use spacetime_network::mapping::{Unmapped, Via};
use spacetime_network::nat::{Action, Job, Network, PortMapping, Settings, UpnpGrant};
use spacetime_network::time::Instant;

struct Story {
    machine: PortMapping,
    now: Instant,
    network: Result<Network, Unmapped>,
    job: Option<Job>,
    /// The last datagram: answers are like it, for no others are heard.
    sent: Vec<u8>,
    is_released: bool,
}

impl Story {
    fn settle(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.machine.poll_action() {
            actions += 1;
            assert!(actions <= 16, "it goes round in a circle");
            match action {
                Action::Look => self.machine.network(self.now, self.network),
                Action::Send(datagram) => self.sent = datagram.bytes().to_vec(),
                Action::Upnp(job) => self.job = Some(job),
                Action::Released => self.is_released = true,
                Action::Tell(_) | Action::RouterRestarted => {}
            }
        }
    }

    fn tick_at(&mut self, end: Instant) {
        let mut ticks = 0;
        while let Some(at) = self.machine.deadline().filter(|at| *at <= end) {
            ticks += 1;
            assert!(ticks < 10_000, "it spins");
            self.now = self.now.max(at);
            self.machine.tick(self.now);
            self.settle();
        }
        self.now = end;
    }
}

fuzz_target!(|input: &[u8]| {
    let settings = Settings {
        methods: vec![Via::Pcp, Via::NatPmp, Via::Upnp],
        internal_port: 7193,
        lease: Duration::from_secs(60),
    };
    let at = |last: u8| Network { own: IpAddr::from([192, 168, 1, last]), router: IpAddr::from([192, 168, 1, 1]) };
    let mut story = Story {
        machine: PortMapping::new(settings, 7),
        now: Instant::from_millis(1),
        network: Ok(at(2)),
        job: None,
        sent: Vec::new(),
        is_released: false,
    };
    story.machine.start(story.now);
    story.settle();
    let mut bytes = input.iter().copied();
    for _ in 0..200 {
        let Some(what) = bytes.next() else { break };
        let detail = bytes.next().unwrap_or(0);
        match what % 7 {
            0 => {
                let end = story.now + Duration::from_millis(u64::from(detail) * 100);
                story.tick_at(end);
            }
            1 => {
                // The question again, as an answer, with some of it changed.
                let mut answer = story.sent.clone();
                if let Some(opcode) = answer.get_mut(1) {
                    *opcode |= 0x80;
                }
                for _ in 0..detail % 8 {
                    let (at, value) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
                    if let Some(byte) = answer.get_mut(usize::from(at)) {
                        *byte = value;
                    }
                }
                story.machine.datagram(story.now, &answer);
            }
            2 => story.machine.datagram(story.now, &vec![what; usize::from(detail)]),
            3 => {
                if let Some(job) = story.job {
                    let lease = detail.is_multiple_of(2).then(|| Duration::from_secs(detail.into()));
                    let grant = UpnpGrant { external_port: detail.into(), claimed: None, lease };
                    let result = match detail % 4 {
                        0 => Err(Unmapped::Silent),
                        1 => Ok(None),
                        _ => Ok(Some(grant)),
                    };
                    story.machine.job_done(story.now, job.ticket, result);
                }
            }
            4 => story.network = if detail == 0 { Err(Unmapped::NoRouter) } else { Ok(at(detail)) },
            5 => story.machine.seen_own(story.now, at(detail).own),
            _ => story.machine.start(story.now),
        }
        story.settle();
        assert!(story.machine.deadline().is_some(), "it sleeps for good");
    }
    story.machine.stop(story.now);
    story.settle();
    let end = story.now + Duration::from_secs(2);
    story.tick_at(end);
    assert!(story.is_released && story.machine.deadline().is_none());
});
