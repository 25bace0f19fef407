//! What one node is asked to do by whoever it belongs to: blocks, payments, gossip.

use bytes::Bytes;

use super::audited_node::CLOCK_OFF;
use super::host::Host;
use super::simulation::SimState;
use super::trace::What;
use crate::chain::{Block, Miner, Transaction};
use crate::driver::node::NodeCommand;
use crate::invariant::Invariant;
use crate::proto::Command;
use crate::time::Now;
use crate::wire::{Hash, Kind};

/// The bytes of a transfer that fills a block, at most, and more than it has besides the name of who is paid.
const FILLER_MOST: usize = 32 * 1024;
const FILLER_LEAST: usize = 128;

impl Host {
    /// Asks the node for something, as another thread would.
    fn command(&mut self, sim: &mut SimState<'_>, command: Command) {
        let Some(driver) = &self.driver else { return };
        let sent = driver.handle().send(NodeCommand::Do(command)).is_ok();
        sim.check.that(Invariant::S1, self.index, sent, || "a command is refused".to_owned());
        sim.schedule.touch(self.index);
    }

    /// Mines a block on its tip, with at most so many bytes of what waits, then filled up to `size`. Nothing happens when it
    /// does not run or its clock is off.
    pub(super) fn mine(&mut self, sim: &mut SimState<'_>, most: usize, size: usize) {
        if self.clock.offset.abs() > CLOCK_OFF {
            return;
        }
        let now = self.clock.read(sim.now());
        let Some(node) = self.node() else { return };
        let Ok(mut block) = node.chain().template(now.unix, self.node_id(), most) else { return };
        self.fill(&mut block, now, size);
        let Some(header) = Miner::new(block.header).run(1 << 20) else { return };
        block.header = header;
        sim.note(self.index, What::Work, 1, header.height);
        sim.timing.block_mined(header.hash(), sim.now());
        self.command(sim, Command::SubmitBlock(block.encode()));
    }

    /// Adds transfers of long names until a block is about so long.
    fn fill(&mut self, block: &mut Block, now: Now, size: usize) {
        let mut room = size.saturating_sub(block.len());
        while room > FILLER_LEAST {
            let len = room.min(FILLER_MOST);
            self.payments += 1;
            let recipient = "f".repeat(len - FILLER_LEAST);
            let (sender, nonce) = (self.node_id(), self.payments);
            let transfer = Transaction { sender, recipient: &recipient, amount: 1, time: now.unix, nonce };
            block.transactions.extend(transfer.encode());
            room -= len;
        }
        block.seal();
    }

    /// Tells everybody something that the chain has no use for.
    pub(super) fn tell(&mut self, sim: &mut SimState<'_>, kind: Kind, payload: Bytes) {
        sim.note(self.index, What::Work, 3, payload.len() as u64);
        self.command(sim, Command::Gossip(kind, payload));
    }

    /// Pays somebody; the transaction's id when the node runs.
    pub(super) fn pay(&mut self, sim: &mut SimState<'_>) -> Option<Hash> {
        let now = self.clock.read(sim.now());
        self.node()?;
        self.payments += 1;
        let transaction = Transaction {
            sender: self.node_id(),
            recipient: "somebody",
            amount: 1,
            time: now.unix,
            nonce: self.payments,
        };
        let bytes = transaction.encode().ok()?;
        let id = crate::chain::transaction::id(&bytes);
        sim.note(self.index, What::Work, 2, self.payments);
        sim.timing.payment_made(id, sim.now());
        self.command(sim, Command::SubmitTransaction(bytes));
        Some(id)
    }
}
