//! What goes wrong in a run: each second faults are drawn, and a scenario has its moments.

use core::time::Duration;

use super::air::{Air, Event, Partition};
use super::fault::Rates;
use super::pipe::{PipeId, Side};
use super::run::World;
use super::scenario::Scenario;
use super::trace::NOBODY;
use crate::time::Instant;

impl World<'_> {
    /// Draws the faults of one second.
    pub(super) fn second(&mut self) {
        self.air.after(Duration::from_secs(1), Event::Second);
        self.look_at_each();
        if self.healed {
            return;
        }
        self.look_for_work();
        let rates = self.air.rates.clone();
        let pipes = self.air.pipes.len() as u64;
        let draw = |air: &mut Air<'_>, rate: u64, count: u64| {
            // At most one of each kind in a second; the chance is that of all together.
            rate > 0 && air.rng.chance(rate.saturating_mul(count).min(1_000_000), 1_000_000)
        };
        for (fault, rate) in [
            ("clog", rates.clog),
            ("black hole", rates.black_hole),
            ("reset", rates.reset),
            ("cut short", rates.cut_short),
        ] {
            if !draw(&mut self.air, rate, pipes) {
                continue;
            }
            let Some(id) = self.air.any_pipe() else { continue };
            let side = self.air.rng.below(2) as Side;
            let air = &mut self.air;
            air.count(fault);
            let host = air.pipe(id).map_or(0, |pipe| pipe.ends[side as usize].host);
            air.trace.fault(air.now, host, fault, Some(id.index));
            match fault {
                "clog" => {
                    let length = Duration::from_millis(1 << air.rng.below(14));
                    let until = air.now + length;
                    air.clog(id, side, until);
                }
                "black hole" => {
                    air.clog(id, 0, Instant::NEVER);
                    air.clog(id, 1, Instant::NEVER);
                }
                "reset" => {
                    air.reset(id, 0);
                    air.reset(id, 1);
                }
                _ => air.cut_short(id, side),
            }
        }
        self.part(&rates);
        let nodes = self.hosts.len() as u64;
        for (fault, rate) in [
            ("kill", rates.kill),
            ("freeze", rates.freeze),
            ("wall jump", rates.wall_jump),
            ("stalled clock", rates.stall),
        ] {
            if !draw(&mut self.air, rate * 10, nodes) {
                continue;
            }
            let air = &mut self.air;
            let Some(host) = air.rng.index(self.hosts.len()).and_then(|at| self.hosts.get_mut(at)) else { continue };
            air.trace.fault(air.now, host.index, fault, None);
            match fault {
                "kill" => {
                    let (silently, gently) = (air.rng.chance(3, 10), air.rng.chance(1, 4));
                    if gently && host.stop(air) {
                        air.count("stop");
                    } else {
                        air.count(if silently { "power cut" } else { "kill" });
                        host.kill(air, silently);
                    }
                    let wait = Duration::from_secs(1 + air.rng.below(40));
                    air.after(wait, Event::Start(host.index));
                }
                "freeze" => {
                    air.count(fault);
                    let until = air.now + Duration::from_secs(1 + air.rng.below(60));
                    air.freeze(host.index, until);
                }
                "stalled clock" => {
                    air.count(fault);
                    let pause = Duration::from_millis(air.rng.below(10_000));
                    host.clock.stall(air.now, pause);
                    host.excused = host.excused.max(air.now) + pause;
                }
                _ => {
                    air.count(fault);
                    let reach = 1000u64 << air.rng.below(29);
                    let jump = air.rng.below(reach) as i64;
                    host.clock.offset += if air.rng.chance(1, 2) { jump } else { -jump };
                }
            }
        }
        if let Some(scenario) = self.scenario {
            let second = self.air.now.since(Instant::ZERO).as_secs();
            self.stage(scenario, second);
        }
    }

    /// What a scenario has happen at a certain second.
    fn stage(&mut self, scenario: Scenario, second: u64) {
        let third = self.chaos.as_secs() / 3;
        let air = &mut self.air;
        match scenario {
            Scenario::Partition if second == third => {
                let half = self.hosts.len() / 2;
                air.sides.iter_mut().enumerate().for_each(|(at, side)| *side = u8::from(at < half));
                air.parted = Some(Partition::Both);
                air.count("partition");
                air.trace.fault(air.now, NOBODY, "partition", None);
            }
            Scenario::Partition if second == 2 * third => {
                air.trace.fault(air.now, NOBODY, "the partition ends", None);
                air.parted = None;
                air.unpark();
            }
            Scenario::MassRestart if second == third => {
                let most = self.hosts.len() * 9 / 10;
                for host in self.hosts.iter_mut().take(most) {
                    host.kill(air, false);
                    air.count("kill");
                    air.after(Duration::from_secs(5), Event::Start(host.index));
                }
            }
            Scenario::Outage if second == self.cut => {
                // Until the healing: whoever is alone is on a side of its own.
                let alone = air.rng.chance(1, 2).then(|| air.rng.below(self.hosts.len() as u64) as usize);
                for (at, side) in air.sides.iter_mut().enumerate() {
                    *side = if alone.is_none_or(|alone| alone == at) { at as u8 + 1 } else { 0 };
                }
                air.parted = Some(Partition::Both);
                let fault = if alone.is_some() { "outage of one" } else { "outage of all" };
                air.count(fault);
                air.trace.fault(air.now, alone.map_or(NOBODY, |host| host as u32), fault, None);
                self.note_names();
            }
            Scenario::SlowMajority if second == 10 => {
                let pipes: Vec<PipeId> = air.all_pipes().map(|(id, _)| id).collect();
                let until = air.now + Duration::from_secs(self.chaos.as_secs().saturating_sub(10));
                for id in pipes.into_iter().filter(|id| id.index % 5 != 0) {
                    air.clog(id, 0, until);
                    air.count("clog");
                }
            }
            _ => {}
        }
    }

    fn part(&mut self, rates: &Rates) {
        let air = &mut self.air;
        if air.parted.is_some() {
            if self.scenario.is_none() && air.rng.chance(rates.rejoin, 1000) {
                air.trace.fault(air.now, NOBODY, "the partition ends", None);
                air.parted = None;
                air.unpark();
            }
        } else if air.rng.chance(rates.part, 1000) {
            let alone = air.rng.chance(1, 3);
            let chosen = air.rng.index(air.sides.len());
            for at in 0..air.sides.len() {
                let side = if alone { Some(at) == chosen } else { air.rng.chance(1, 2) };
                air.sides[at] = u8::from(side);
            }
            let one_way = air.rng.chance(1, 3);
            air.parted = Some(if one_way { Partition::OneWay } else { Partition::Both });
            let fault = if one_way { "one-way partition" } else { "partition" };
            air.count(fault);
            air.trace.fault(air.now, NOBODY, fault, None);
        }
        if air.rng.chance(rates.swizzle * 10, 1_000_000) {
            air.count("swizzle-clog");
            air.trace.fault(air.now, NOBODY, "swizzle-clog", None);
            let pipes: Vec<PipeId> = air.all_pipes().map(|(id, _)| id).collect();
            for id in pipes {
                if air.rng.chance(1, 2) {
                    let until = air.now + Duration::from_millis(air.rng.below(10_000));
                    air.clog(id, 0, until);
                    air.clog(id, 1, until);
                }
            }
        }
    }
}
