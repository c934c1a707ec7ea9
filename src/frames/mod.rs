//! Where frames come from offline.
