//! What a plan promises of its records.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::*;
use crate::record::{DeviceFrom, Fields, Parsed, Parser, Reason, Zone};
