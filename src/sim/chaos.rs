//! What goes wrong in a run: each second faults are drawn, and a scenario has its moments.

use core::time::Duration;

use super::fault::Rates;
use super::pipe::{PipeId, Side};
use super::run::World;
use super::scenario::Scenario;
use super::simulation::{Event, Partition, SimState};
use super::trace::NOBODY;
use crate::time::Instant;

impl World<'_> {
    /// Draws the faults of one second.
    pub(super) fn second(&mut self) {
        self.sim.after(Duration::from_secs(1), Event::Second);
        self.look_at_each();
        if self.healed {
            return;
        }
        self.look_for_work();
        let rates = self.sim.rates.clone();
        let pipes = self.sim.pipes.len() as u64;
        let draw = |sim: &mut SimState<'_>, rate: u64, count: u64| {
            // At most one of each kind in a second; the chance is that of all together.
            rate > 0 && sim.rng.chance(rate.saturating_mul(count).min(1_000_000), 1_000_000)
        };
        for (fault, rate) in [
            ("clog", rates.clog),
            ("black hole", rates.black_hole),
            ("reset", rates.reset),
            ("cut short", rates.cut_short),
        ] {
            if !draw(&mut self.sim, rate, pipes) {
                continue;
            }
            let Some(id) = self.sim.any_pipe() else { continue };
            let side = self.sim.rng.below(2) as Side;
            let sim = &mut self.sim;
            sim.count(fault);
            let host = sim.pipe(id).map_or(0, |pipe| pipe.ends[side as usize].host);
            sim.trace.fault(sim.now, host, fault, Some(id.index));
            match fault {
                "clog" => {
                    let length = Duration::from_millis(1 << sim.rng.below(14));
                    let until = sim.now + length;
                    sim.clog(id, side, until);
                }
                "black hole" => {
                    sim.clog(id, 0, Instant::NEVER);
                    sim.clog(id, 1, Instant::NEVER);
                }
                "reset" => {
                    sim.reset(id, 0);
                    sim.reset(id, 1);
                }
                _ => sim.cut_short(id, side),
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
            if !draw(&mut self.sim, rate * 10, nodes) {
                continue;
            }
            let sim = &mut self.sim;
            let Some(host) = sim.rng.index(self.hosts.len()).and_then(|at| self.hosts.get_mut(at)) else { continue };
            sim.trace.fault(sim.now, host.index, fault, None);
            match fault {
                "kill" => {
                    let (silently, gently) = (sim.rng.chance(3, 10), sim.rng.chance(1, 4));
                    if gently && host.stop(sim) {
                        sim.count("stop");
                    } else {
                        sim.count(if silently { "power cut" } else { "kill" });
                        host.kill(sim, silently);
                    }
                    let wait = Duration::from_secs(1 + sim.rng.below(40));
                    sim.after(wait, Event::Start(host.index));
                }
                "freeze" => {
                    sim.count(fault);
                    let until = sim.now + Duration::from_secs(1 + sim.rng.below(60));
                    sim.freeze(host.index, until);
                }
                "stalled clock" => {
                    sim.count(fault);
                    let pause = Duration::from_millis(sim.rng.below(10_000));
                    host.clock.stall(sim.now, pause);
                    host.excused = host.excused.max(sim.now) + pause;
                }
                _ => {
                    sim.count(fault);
                    let reach = 1000u64 << sim.rng.below(29);
                    let jump = sim.rng.below(reach) as i64;
                    host.clock.offset += if sim.rng.chance(1, 2) { jump } else { -jump };
                }
            }
        }
        if let Some(scenario) = self.scenario {
            let second = self.sim.now.since(Instant::ZERO).as_secs();
            self.stage(scenario, second);
        }
    }

    /// What a scenario has happen at a certain second.
    fn stage(&mut self, scenario: Scenario, second: u64) {
        let third = self.chaos.as_secs() / 3;
        let sim = &mut self.sim;
        match scenario {
            Scenario::Partition if second == third => {
                let half = self.hosts.len() / 2;
                sim.sides.iter_mut().enumerate().for_each(|(at, side)| *side = u8::from(at < half));
                sim.parted = Some(Partition::Both);
                sim.count("partition");
                sim.trace.fault(sim.now, NOBODY, "partition", None);
            }
            Scenario::Partition if second == 2 * third => {
                sim.trace.fault(sim.now, NOBODY, "the partition ends", None);
                sim.parted = None;
                sim.unpark();
            }
            Scenario::MassRestart if second == third => {
                let most = self.hosts.len() * 9 / 10;
                for host in self.hosts.iter_mut().take(most) {
                    host.kill(sim, false);
                    sim.count("kill");
                    sim.after(Duration::from_secs(5), Event::Start(host.index));
                }
            }
            Scenario::Outage if second == self.cut => {
                // Until the healing: whoever is alone is on a side of its own.
                let alone = sim.rng.chance(1, 2).then(|| sim.rng.below(self.hosts.len() as u64) as usize);
                for (at, side) in sim.sides.iter_mut().enumerate() {
                    *side = if alone.is_none_or(|alone| alone == at) { at as u8 + 1 } else { 0 };
                }
                sim.parted = Some(Partition::Both);
                let fault = if alone.is_some() { "outage of one" } else { "outage of all" };
                sim.count(fault);
                sim.trace.fault(sim.now, alone.map_or(NOBODY, |host| host as u32), fault, None);
                self.note_names();
            }
            Scenario::SlowMajority if second == 10 => {
                let pipes: Vec<PipeId> = sim.all_pipes().map(|(id, _)| id).collect();
                let until = sim.now + Duration::from_secs(self.chaos.as_secs().saturating_sub(10));
                for id in pipes.into_iter().filter(|id| id.index % 5 != 0) {
                    sim.clog(id, 0, until);
                    sim.count("clog");
                }
            }
            _ => {}
        }
    }

    fn part(&mut self, rates: &Rates) {
        let sim = &mut self.sim;
        if sim.parted.is_some() {
            if self.scenario.is_none() && sim.rng.chance(rates.rejoin, 1000) {
                sim.trace.fault(sim.now, NOBODY, "the partition ends", None);
                sim.parted = None;
                sim.unpark();
            }
        } else if sim.rng.chance(rates.part, 1000) {
            let alone = sim.rng.chance(1, 3);
            let chosen = sim.rng.index(sim.sides.len());
            for at in 0..sim.sides.len() {
                let side = if alone { Some(at) == chosen } else { sim.rng.chance(1, 2) };
                sim.sides[at] = u8::from(side);
            }
            let one_way = sim.rng.chance(1, 3);
            sim.parted = Some(if one_way { Partition::OneWay } else { Partition::Both });
            let fault = if one_way { "one-way partition" } else { "partition" };
            sim.count(fault);
            sim.trace.fault(sim.now, NOBODY, fault, None);
        }
        if sim.rng.chance(rates.swizzle * 10, 1_000_000) {
            sim.count("swizzle-clog");
            sim.trace.fault(sim.now, NOBODY, "swizzle-clog", None);
            let pipes: Vec<PipeId> = sim.all_pipes().map(|(id, _)| id).collect();
            for id in pipes {
                if sim.rng.chance(1, 2) {
                    let until = sim.now + Duration::from_millis(sim.rng.below(10_000));
                    sim.clog(id, 0, until);
                    sim.clog(id, 1, until);
                }
            }
        }
    }
}
