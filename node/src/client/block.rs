//! `block`: one block, to look at or to keep.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use spacetime_network::chain::Block;
use spacetime_network::wire::{Hash, Message};

use crate::cli::BlockArgs;
use crate::client::blocking::Client;
use crate::client::view::BlockView;
use crate::failure::Failure;
use crate::output;

/// Prints a block, or writes its bytes to a file.
pub(crate) fn block(args: &BlockArgs) -> Result<(), Failure> {
    let mut client = Client::open(&args.ask)?;
    let answer = fetch(&mut client, args.hash)?;
    client.leave();
    let operation = || format!("get block {} from {}", args.hash, args.ask.address);
    let bytes = answer.ok_or_else(|| {
        Failure::new(
            operation(),
            "the node does not have it",
            "check the hash with the headers command, or ask another node",
        )
    })?;
    if let Some(path) = &args.out {
        write(path, &bytes)?;
    }
    let view = BlockView::of(&bytes);
    match (view, &args.out) {
        (Some(view), None) => output::result(args.ask.output.json, &view, BlockView::lines),
        (Some(view), Some(_)) if args.ask.output.json => output::json(&view),
        (_, Some(path)) => output::line(format_args!("{} bytes written to {}", bytes.len(), path.display())),
        (None, None) => {
            Err(Failure::new(operation(), "it is not of the reference chain", "keep its bytes with --out FILE"))
        }
    }
}

/// The block of this hash; `None` when the node does not have it.
pub(crate) fn fetch(client: &mut Client, hash: Hash) -> Result<Option<Bytes>, Failure> {
    let answer = client.ask("the block", &Message::GetBlock(hash), |message| match message {
        Message::Block(bytes) => {
            let bytes = Bytes::copy_from_slice(bytes);
            // Blocks of another chain cannot be named here; the node's word is taken for those.
            let is_it = Block::decode(&bytes).is_none_or(|block| block.header.hash() == hash);
            Some(is_it.then_some(Some(bytes)))
        }
        Message::NotFound(missing) if *missing == hash => Some(Some(None)),
        _ => None,
    })?;
    answer.ok_or_else(|| {
        Failure::new(
            format!("ask {} for block {hash}", client.endpoint()),
            "it answers with another one",
            "ask another node: this one does not keep to the protocol",
        )
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes)
        .map_err(|error| Failure::new(format!("write {}", path.display()), error, "choose another --out"))
}
