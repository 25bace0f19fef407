//! What goes wrong in a run: each second faults are drawn, and a scenario has its moments.

use core::time::Duration;

use super::data::Exit;
use super::fault::Rates;
use super::partition::Cut;
use super::pipe::{PipeId, Side};
use super::run::World;
use super::scenario::Scenario;
use super::schedule::{Event, Milestone};
use super::simulation::SimState;
use super::trace::NOBODY;
use crate::time::Instant;

/// When a node that starts again must have its connections: five seconds, and what dials take.
const RETURNED: Duration = Duration::from_secs(35);

impl World<'_> {
    /// Draws the faults of one second.
    pub(super) fn second(&mut self) {
        self.sim.schedule.after(Duration::from_secs(1), Event::Second);
        self.check_each_second();
        self.check_blocks_arrive();
        if self.healed {
            return;
        }
        self.second_of_workload();
        let rates = self.sim.rates.clone();
        let pipes = self.sim.pipes.count() as u64;
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
            let host = sim.pipes.get(id).map_or(0, |pipe| pipe.end(side).host);
            sim.note_fault(host, fault, Some(id.index));
            match fault {
                "clog" => {
                    let length = Duration::from_millis(1 << sim.rng.below(14));
                    let until = sim.now() + length;
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
            sim.note_fault(host.index, fault, None);
            match fault {
                "kill" => {
                    let exit = if sim.rng.chance(3, 10) { Exit::PowerCut } else { Exit::Process };
                    if sim.rng.chance(1, 4) && host.stop(sim) {
                        sim.count("stop");
                    } else {
                        sim.count(if exit == Exit::PowerCut { "power cut" } else { "kill" });
                        host.kill(sim, exit);
                    }
                    let wait = Duration::from_secs(1 + sim.rng.below(40));
                    sim.schedule.after(wait, Event::Start(host.index));
                }
                "freeze" => {
                    sim.count(fault);
                    let until = sim.now() + Duration::from_secs(1 + sim.rng.below(60));
                    sim.schedule.freeze(host.index, until);
                }
                "stalled clock" => {
                    sim.count(fault);
                    let pause = Duration::from_millis(sim.rng.below(10_000));
                    host.clock.stall(sim.now(), pause);
                    host.excused = host.excused.max(sim.now()) + pause;
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
            let second = self.sim.now().since(Instant::ZERO).as_secs();
            self.stage(scenario, second);
        }
    }

    /// What a scenario has happen at a certain second.
    fn stage(&mut self, scenario: Scenario, second: u64) {
        let third = self.chaos.as_secs() / 3;
        let sim = &mut self.sim;
        match scenario {
            Scenario::Partition if second == third => {
                let half = self.hosts.len() as u32 / 2;
                let sides = (0..sim.machines.count()).map(|host| u32::from(host < half));
                sim.partition.begin(Cut::BothWays, sides.collect());
                sim.count("partition");
                sim.note_fault(NOBODY, "partition", None);
            }
            Scenario::Partition if second == 2 * third => {
                sim.note_fault(NOBODY, "the partition ends", None);
                sim.rejoin();
            }
            Scenario::MassRestart if second == third => {
                let most = self.hosts.len() * 9 / 10;
                for host in self.hosts.iter_mut().take(most) {
                    host.kill(sim, Exit::Process);
                    sim.count("kill");
                    sim.schedule.after(Duration::from_secs(5), Event::Start(host.index));
                }
            }
            Scenario::SybilRestart if second == third => {
                let Some(victim) = self.hosts.last_mut() else { return };
                victim.kill(sim, Exit::Process);
                sim.count("restart among sybils");
                sim.schedule.after(Duration::from_secs(5), Event::Start(victim.index));
                sim.schedule.after(RETURNED, Event::Milestone(Milestone::CheckReturned));
            }
            Scenario::Outage if second == self.outage_second => {
                // Until the healing: whoever is alone is on a side of its own.
                let alone = sim.rng.chance(1, 2).then(|| sim.rng.below(self.hosts.len() as u64) as u32);
                let side = |host: u32| if alone.is_none_or(|alone| alone == host) { host + 1 } else { 0 };
                sim.partition.begin(Cut::BothWays, (0..sim.machines.count()).map(side).collect());
                let fault = if alone.is_some() { "outage of one" } else { "outage of all" };
                sim.count(fault);
                sim.note_fault(alone.unwrap_or(NOBODY), fault, None);
                self.note_scores();
            }
            Scenario::SlowMajority if second == 10 => {
                let pipes: Vec<PipeId> = sim.pipes.iter().map(|(id, _)| id).collect();
                let until = sim.now() + Duration::from_secs(self.chaos.as_secs().saturating_sub(10));
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
        if sim.partition.is_active() {
            if self.scenario.is_none() && sim.rng.chance(rates.rejoin, 1000) {
                sim.note_fault(NOBODY, "the partition ends", None);
                sim.rejoin();
            }
        } else if sim.rng.chance(rates.part, 1000) {
            let alone = sim.rng.chance(1, 3);
            let count = sim.machines.count() as usize;
            let chosen = sim.rng.index(count);
            let mut side = |host| if alone { Some(host) == chosen } else { sim.rng.chance(1, 2) };
            let sides = (0..count).map(|host| u32::from(side(host))).collect();
            let cut = if sim.rng.chance(1, 3) { Cut::OneWay } else { Cut::BothWays };
            sim.partition.begin(cut, sides);
            let fault = if cut == Cut::OneWay { "one-way partition" } else { "partition" };
            sim.count(fault);
            sim.note_fault(NOBODY, fault, None);
        }
        if sim.rng.chance(rates.swizzle * 10, 1_000_000) {
            sim.count("swizzle-clog");
            sim.note_fault(NOBODY, "swizzle-clog", None);
            let pipes: Vec<PipeId> = sim.pipes.iter().map(|(id, _)| id).collect();
            for id in pipes {
                if sim.rng.chance(1, 2) {
                    let until = sim.now() + Duration::from_millis(sim.rng.below(10_000));
                    sim.clog(id, 0, until);
                    sim.clog(id, 1, until);
                }
            }
        }
    }
}
