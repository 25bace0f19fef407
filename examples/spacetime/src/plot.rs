//! Plots: files of leaves, each with its tree beside it, so that a proof reads a few dozen nodes and not the whole file.
//!
//! The tree file holds the levels above the leaves, the lowest first and the root last. The lowest one, of the leaves' own nodes,
//! is not kept: one hash makes such a node from its leaf.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::codec::Reader;
use crate::crypto::{Hash, PublicKey, sha256};
use crate::format::{PATH_MAX, Proof, VERSION};
use crate::merkle;

const MAGIC: &[u8; 4] = b"SPTP";
/// Of the header with its checksum.
pub const HEADER_LEN: usize = 121;
const LEAF_LEN: usize = 32;
/// Leaves that are looked at in one go.
const CHUNK: usize = 1 << 15;
/// For the files: a system call for each leaf would take longer than its hash.
const BUFFER: usize = 1 << 18;

/// What stands at the front of a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct PlotHeader {
    pub seed: Hash,
    pub leaves: i64,
    pub tree_height: i64,
    pub root: Hash,
}

impl PlotHeader {
    /// Its bytes with their checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend_from_slice(&self.seed);
        out.extend_from_slice(&self.leaves.to_le_bytes());
        out.extend_from_slice(&(LEAF_LEN as u32).to_le_bytes());
        out.extend_from_slice(&self.tree_height.to_le_bytes());
        out.extend_from_slice(&self.root);
        let checksum = sha256(&[&out]);
        out.extend_from_slice(&checksum);
        out
    }

    /// What a proof names it by.
    pub fn hash(&self) -> Hash {
        sha256(&[&self.encode()])
    }

    /// From its bytes.
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC || reader.byte()? != VERSION {
            return None;
        }
        let (seed, leaves, leaf_len) = (reader.array()?, reader.i64()?, reader.i32()?);
        let header = PlotHeader { seed, leaves, tree_height: reader.i64()?, root: reader.array()? };
        let high = i64::from(merkle::height(u64::try_from(leaves).ok()?));
        let is_right = leaves > 0 && usize::try_from(leaf_len) == Ok(LEAF_LEN) && header.tree_height == high;
        (is_right && header.encode() == bytes).then_some(header)
    }
}

/// Does a proof name the plot that its path leads to? The rules do not ask; who passes proofs on does.
pub fn header_fits(proof: &Proof) -> bool {
    let (leaves, height) = (proof.leaf_count, i64::try_from(proof.path.len()).unwrap_or(i64::MAX));
    let named = PlotHeader { seed: proof.plot_id, leaves, tree_height: height, root: proof.root() };
    proof.plot_version == VERSION && named.hash() == proof.plot_header
}

/// A leaf of a plot of `miner`'s.
pub fn leaf(miner: &PublicKey, seed: &Hash, number: u64) -> Hash {
    sha256(&[miner.get(1..).unwrap_or_default(), seed, &number.to_le_bytes()])
}

/// The file beside a plot.
pub fn tree_path(plot: &Path) -> PathBuf {
    beside(plot, ".tree")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Makes a plot of so many leaves and its tree. Both appear whole or not at all, the tree first.
///
/// # Errors
///
/// What the disk says.
pub fn create(path: &Path, miner: &PublicKey, seed: Hash, leaves: u64) -> io::Result<PlotHeader> {
    let tree_height = merkle::height(leaves);
    if leaves == 0 || usize::try_from(tree_height).map_or(true, |height| height > PATH_MAX) {
        return Err(broken("a plot has at least one leaf"));
    }
    let tree = tree_path(path);
    let (partial, partial_tree) = (beside(path, ".partial"), beside(&tree, ".partial"));
    let mut out = BufWriter::with_capacity(BUFFER, File::create(&partial)?);
    let mut levels = BufWriter::with_capacity(BUFFER, File::create(&partial_tree)?);
    out.write_all(&[0; HEADER_LEN])?;
    let mut root = [0; 32];
    let mut lowest = Level::default();
    for number in 0..leaves {
        let value = leaf(miner, &seed, number);
        out.write_all(&value)?;
        root = merkle::leaf(&value);
        if let Some(above) = lowest.push(root) {
            levels.write_all(&above)?;
        }
    }
    if let (Some(above), true) = (lowest.finish(), leaves > 1) {
        levels.write_all(&above)?;
    }
    levels.flush()?;
    // Each level from the one before, read back from the file that grows.
    let mut below = BufReader::with_capacity(BUFFER, File::open(&partial_tree)?);
    let mut nodes = if leaves > 1 { leaves.div_ceil(2) } else { 0 };
    while nodes > 0 {
        let mut level = Level::default();
        for _ in 0..nodes {
            below.read_exact(&mut root)?;
            if let Some(above) = level.push(root) {
                levels.write_all(&above)?;
            }
        }
        if let (Some(above), true) = (level.finish(), nodes > 1) {
            levels.write_all(&above)?;
        }
        levels.flush()?;
        nodes = if nodes > 1 { nodes.div_ceil(2) } else { 0 };
    }
    let header = PlotHeader { seed, leaves: leaves.cast_signed(), tree_height: i64::from(tree_height), root };
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&header.encode())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    levels.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&partial_tree, &tree)?;
    fs::rename(&partial, path)?;
    Ok(header)
}

/// Pairs the nodes of one level.
#[derive(Default)]
struct Level(Option<Hash>);

impl Level {
    fn push(&mut self, node: Hash) -> Option<Hash> {
        match self.0.take() {
            Some(left) => Some(merkle::node(&left, &node)),
            None => {
                self.0 = Some(node);
                None
            }
        }
    }

    fn finish(self) -> Option<Hash> {
        self.0.map(|lonely| merkle::above(&lonely, None))
    }
}

/// The leaf with the lowest score against a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Best {
    pub number: u64,
    pub leaf: Hash,
    pub score: Hash,
}

/// A plot that is open.
#[derive(Debug)]
pub struct Plot {
    header: PlotHeader,
    leaves: File,
    tree: File,
}

impl Plot {
    /// Opens a plot and its tree.
    ///
    /// # Errors
    ///
    /// What the disk says, or that they are none, or of another length.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut leaves = File::open(path)?;
        let mut front = [0; HEADER_LEN];
        leaves.read_exact(&mut front)?;
        let header = PlotHeader::decode(&front).ok_or_else(|| broken("this is no plot"))?;
        let tree = File::open(tree_path(path))?;
        let plot = Plot { header, leaves, tree };
        let sum = |count: u64| count.saturating_mul(LEAF_LEN as u64);
        let expected = (
            sum(plot.count()).saturating_add(HEADER_LEN as u64),
            sum(plot.nodes_before(plot.levels().saturating_add(1))),
        );
        if (plot.leaves.metadata()?.len(), plot.tree.metadata()?.len()) != expected {
            return Err(broken("the plot or its tree does not have the length that it says"));
        }
        Ok(plot)
    }

    /// What stands at its front.
    pub fn header(&self) -> PlotHeader {
        self.header
    }

    /// Looks at every leaf for the lowest score. Asks now and then whether to go on.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn best(&mut self, challenge: &Hash, goes_on: &dyn Fn() -> bool) -> io::Result<Option<Best>> {
        self.leaves.seek(SeekFrom::Start(HEADER_LEN as u64))?;
        let (mut best, mut number): (Option<Best>, u64) = (None, 0);
        let mut chunk = vec![0; CHUNK.saturating_mul(LEAF_LEN)];
        while number < self.count() {
            if !goes_on() {
                return Ok(None);
            }
            let left = usize::try_from(self.count().saturating_sub(number)).unwrap_or(CHUNK).min(CHUNK);
            let part = chunk.get_mut(..left.saturating_mul(LEAF_LEN)).unwrap_or_default();
            self.leaves.read_exact(part)?;
            for leaf in part.as_chunks::<LEAF_LEN>().0 {
                let score = sha256(&[challenge, leaf]);
                if best.is_none_or(|best| score < best.score) {
                    best = Some(Best { number, leaf: *leaf, score });
                }
                number = number.saturating_add(1);
            }
        }
        Ok(best)
    }

    /// That a leaf stands in this plot. Reads one leaf and one node of each level.
    ///
    /// # Errors
    ///
    /// What the disk says, or that the plot and its tree do not belong together.
    pub fn prove(&mut self, number: u64) -> io::Result<Proof> {
        let value = self.leaf(number)?;
        let (mut at, mut own, mut path) = (number, merkle::leaf(&value), Vec::new());
        for level in 0..self.levels() {
            let partner = at ^ 1;
            let sibling = if partner < self.nodes(level) { self.node(level, partner)? } else { merkle::padding(&own) };
            let is_right = at.is_multiple_of(2);
            own = if is_right { merkle::node(&own, &sibling) } else { merkle::node(&sibling, &own) };
            path.push((sibling, is_right));
            at /= 2;
        }
        if own != self.header.root {
            return Err(broken("the plot and its tree do not belong together, or the disk has spoiled one: plot anew"));
        }
        Ok(Proof {
            leaf: value,
            leaf_index: number.cast_signed(),
            path,
            leaf_count: self.header.leaves,
            plot_id: self.header.seed,
            plot_header: self.header.hash(),
            plot_version: VERSION,
        })
    }

    fn count(&self) -> u64 {
        self.header.leaves.unsigned_abs()
    }

    fn levels(&self) -> u32 {
        merkle::height(self.count())
    }

    /// Nodes of a level; the leaves' own are level 0.
    fn nodes(&self, level: u32) -> u64 {
        (0..level).fold(self.count(), |nodes, _| nodes.div_ceil(2))
    }

    /// Nodes of the tree file before those of a level, level 1 being the first there.
    fn nodes_before(&self, level: u32) -> u64 {
        (1..level).map(|level| self.nodes(level)).sum()
    }

    fn node(&mut self, level: u32, number: u64) -> io::Result<Hash> {
        if level == 0 {
            return self.leaf(number).map(|value| merkle::leaf(&value));
        }
        let at = self.nodes_before(level).saturating_add(number);
        read_at(&mut self.tree, at.saturating_mul(LEAF_LEN as u64))
    }

    fn leaf(&mut self, number: u64) -> io::Result<Hash> {
        read_at(&mut self.leaves, number.saturating_mul(LEAF_LEN as u64).saturating_add(HEADER_LEN as u64))
    }
}

fn read_at(file: &mut File, at: u64) -> io::Result<Hash> {
    let mut hash = [0; 32];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut hash)?;
    Ok(hash)
}
