//! Where queued jobs come from, beside what runners are seen to do. What is found here becomes evidence;
//! nothing here decides what it means.

pub mod deliveries;
pub mod lookups;
