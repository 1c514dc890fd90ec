//! The blocks that were read last.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::{Block, BlockId};

/// Unpacked blocks in two generations: the younger one takes what is read, and when it is full, the older one is let go and it becomes that.
/// What is asked for again returns to the younger one; so what is let go was not asked for while half the capacity went by.
#[derive(Debug)]
pub(super) struct Cache {
    young: HashMap<BlockId, Arc<Block>>,
    old: HashMap<BlockId, Arc<Block>>,
    young_bytes: usize,
    /// Of one generation.
    bytes_max: usize,
}

impl Cache {
    /// A cache that holds at most so much, and one block more.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, bytes_max: bytes_max / 2 }
    }

    pub(super) fn get(&mut self, id: BlockId) -> Option<Arc<Block>> {
        if let Some(block) = self.young.get(&id) {
            return Some(block.clone());
        }
        let block = self.old.remove(&id)?;
        self.put(id, block.clone());
        Some(block)
    }

    pub(super) fn put(&mut self, id: BlockId, block: Arc<Block>) {
        if self.young_bytes >= self.bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += block.memory_bytes();
        self.young.insert(id, block);
    }

    /// Lets go of a block that nobody will ask for again.
    pub(super) fn forget(&mut self, id: BlockId) {
        if let Some(block) = self.young.remove(&id) {
            self.young_bytes -= block.memory_bytes();
        }
        self.old.remove(&id);
    }

    #[cfg(test)]
    pub(super) fn size_bytes(&self) -> usize {
        [&self.young, &self.old].into_iter().flat_map(|blocks| blocks.values()).map(|block| block.memory_bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::BlockWriter;
    use super::*;

    fn id(serial: u32) -> BlockId {
        BlockId { lot: 1, serial }
    }

    fn block(serial: u32) -> Arc<Block> {
        let mut writer = BlockWriter::default();
        writer.push(b"key", Some(&[0; 1000]));
        Arc::new(Block::unpack(id(serial), &writer.finish(id(serial)).1).unwrap())
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let each = block(0).memory_bytes();
        let mut cache = Cache::new(10 * each);
        for serial in 0..100 {
            cache.put(id(serial), block(serial));
            assert!(cache.get(id(0)).is_some(), "asked for after {serial}");
            assert!(cache.young.len() + cache.old.len() <= 11);
        }
        assert!(cache.get(id(99)).is_some() && cache.get(id(50)).is_none());
        cache.forget(id(99));
        assert!(cache.get(id(99)).is_none());
    }
}
