//! How much of the line a node takes.

use clap::Args;
use spacetime_network::driver::Bandwidth;

use crate::value::{self, Quota};

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct BandwidthArgs {
    /// Send at most so much in a second, like 1MiB, 500kB or 8Mbit (1 MiB is 1,048,576 bytes, 1 MB a million, 8 bits a byte)
    #[arg(long, value_name = "RATE", value_parser = value::byte_rate, help_heading = "Bandwidth")]
    pub(crate) max_upload: Option<u64>,
    /// Receive at most so much in a second, in the same units
    #[arg(long, value_name = "RATE", value_parser = value::byte_rate, help_heading = "Bandwidth")]
    pub(crate) max_download: Option<u64>,
    /// Send at most so much in a second to each single peer, in the same units
    #[arg(long, value_name = "RATE", value_parser = value::byte_rate, help_heading = "Bandwidth")]
    pub(crate) max_upload_per_peer: Option<u64>,
    /// Neither send frames compressed nor take them so: where lines are fast and the processor is not
    #[arg(long, help_heading = "Bandwidth")]
    pub(crate) no_compression: bool,
    /// Send about so much in a period, like 20GiB/day or 500GB/30days: when nine tenths are used up, old blocks are no longer served
    /// until the next; all else goes on. What was used is remembered over a restart
    #[arg(long, value_name = "SIZE/PERIOD", value_parser = value::quota, help_heading = "Bandwidth")]
    pub(crate) upload_quota: Option<Quota>,
}

impl BandwidthArgs {
    /// The limits of the loop.
    pub(crate) fn limits(&self) -> Bandwidth {
        Bandwidth { upload: self.max_upload, download: self.max_download, upload_per_peer: self.max_upload_per_peer }
    }
}
