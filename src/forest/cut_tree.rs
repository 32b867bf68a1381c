//! The layout of one random cut tree, and the ways through it.
//!
//! Flat arrays that grow with the sample: 8 bytes per inner node, boxes and points apart, so that the way down stays in a few
//! cache lines. A leaf is a distinct point with the number of its copies in the sample. In: points; out: leaves.

use super::bounds;

/// The absent leaf: the end of the list of free ones.
pub(super) const NONE: u16 = u16::MAX;

/// The node above the root, in every tree that has nodes: all points lie in its box and it is its own parent, so that ways up
/// need no branch for their end. Also the end of the list of free nodes.
pub(super) const TOP: u16 = 0;

/// Floats behind the last box, so that a vector can be loaded from any part of any box.
pub(super) const BEHIND: usize = 8;

/// A reference to a node or leaf: bit 15 says leaf, bits 10–14 hold the low bits of the dimension a node cuts (known before the
/// node itself is loaded, which shortens the wait on the way down), bits 0–9 its index.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Link(u16);

impl Link {
    const LEAF: u16 = 1 << 15;

    /// Dimensions that links tell apart.
    pub(super) const DIMENSIONS: usize = 32;

    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    pub(super) fn from_bits(bits: u16) -> Link {
        Link(bits)
    }

    /// The first leaf.
    pub(super) const LEAF_0: Link = Link(Link::LEAF);

    /// `index` is below 1,024.
    pub(super) fn leaf(index: u16) -> Link {
        Link(Link::LEAF | index)
    }

    /// `index` is below 1,024.
    pub(super) fn node(index: u16, dimension: usize) -> Link {
        Link(((dimension % Link::DIMENSIONS) as u16) << 10 | index)
    }

    #[inline(always)]
    pub(super) fn is_leaf(self) -> bool {
        self.0 & Link::LEAF != 0
    }

    #[inline(always)]
    pub(super) fn index(self) -> usize {
        usize::from(self.0 & 0x3ff)
    }

    /// The node, for a leaf the top node; without a branch.
    #[inline(always)]
    pub(super) fn node_or_top(self) -> Link {
        Link(self.0 & !self.all_if_leaf())
    }

    /// This link if it is a leaf, else the other; without a branch.
    #[inline(always)]
    pub(super) fn or(self, next: Link) -> Link {
        let stay = self.all_if_leaf();
        Link(self.0 & stay | next.0 & !stay)
    }

    /// 0 for a leaf, else 1.
    #[inline(always)]
    pub(super) fn depth(self) -> u32 {
        1 - u32::from(self.0 >> 15)
    }

    /// All bits set for a leaf, else none.
    #[inline(always)]
    fn all_if_leaf(self) -> u16 {
        (self.0 as i16 >> 15) as u16
    }

    /// Whether two links name the same leaf or node, whatever they say of its dimension.
    fn same_place(self, other: Link) -> bool {
        (self.is_leaf(), self.index()) == (other.is_leaf(), other.index())
    }

    /// The dimension a node cuts, in a tree of at most [`DIMENSIONS`](Self::DIMENSIONS).
    #[inline(always)]
    pub(super) fn dimension(self) -> usize {
        usize::from(self.0 >> 10 & 0x1f)
    }
}

/// Points whose cut dimension is at or below `cut` go to child 0, the others to child 1.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Node {
    pub(super) cut: f32,
    pub(super) children: [Link; 2],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// Copies of the point in the sample; 0 for a free leaf.
    pub(super) mass: u16,
    pub(super) parent: u16,
}

#[derive(Clone, Debug)]
pub(super) struct CutTree {
    pub(super) dimensions: usize,
    /// Most leaves the tree will ever hold.
    pub(super) capacity: usize,
    /// `None` while the tree is empty.
    pub(super) root: Option<Link>,
    pub(super) nodes: Vec<Node>,
    /// The dimension each node cuts, where the links have no room for it; else empty.
    pub(super) cut_dimensions: Vec<u16>,
    /// A box per node, as [`super::bounds`] stores it, and [`BEHIND`] floats.
    pub(super) boxes: Vec<f32>,
    pub(super) node_parents: Vec<u16>,
    pub(super) leaves: Vec<Leaf>,
    pub(super) points: Vec<f32>,
    /// Heads of the lists of free places, which run through the parents.
    pub(super) free_node: u16,
    pub(super) free_leaf: u16,
}

impl CutTree {
    pub(super) fn new(dimensions: usize, capacity: usize) -> CutTree {
        CutTree {
            dimensions,
            capacity,
            root: None,
            nodes: Vec::new(),
            cut_dimensions: Vec::new(),
            boxes: Vec::new(),
            node_parents: Vec::new(),
            leaves: Vec::new(),
            points: Vec::new(),
            free_node: TOP,
            free_leaf: NONE,
        }
    }

    /// The dimension a node cuts.
    #[inline(always)]
    pub(super) fn dimension(&self, link: Link) -> usize {
        match self.cut_dimensions.get(link.index()) {
            Some(&dimension) => usize::from(dimension),
            None => link.dimension(),
        }
    }

    /// A link to a node, which from now on cuts this dimension.
    pub(super) fn link(&mut self, node: u16, dimension: usize) -> Link {
        if self.dimensions > Link::DIMENSIONS {
            self.cut_dimensions.resize(self.nodes.len(), 0);
            self.cut_dimensions[usize::from(node)] = dimension as u16;
        }
        Link::node(node, dimension)
    }

    /// The stored box of a node.
    #[inline(always)]
    pub(super) fn stored_box(&self, node: usize) -> &[f32] {
        let width = bounds::width(self.dimensions);
        &self.boxes[node * width..(node + 1) * width]
    }

    pub(super) fn stored_box_mut(&mut self, node: usize) -> &mut [f32] {
        let width = bounds::width(self.dimensions);
        &mut self.boxes[node * width..(node + 1) * width]
    }

    /// The lows and highs of a node's box.
    pub(super) fn bounds(&self, node: usize) -> (&[f32], &[f32]) {
        let (_, lows, highs) = bounds::parts(self.stored_box(node));
        (lows, highs)
    }

    #[inline(always)]
    pub(super) fn point(&self, leaf: usize) -> &[f32] {
        &self.points[leaf * self.dimensions..(leaf + 1) * self.dimensions]
    }

    /// The lows and highs of what hangs on a link.
    pub(super) fn extent(&self, link: Link) -> (&[f32], &[f32]) {
        if link.is_leaf() {
            let point = self.point(link.index());
            (point, point)
        } else {
            self.bounds(link.index())
        }
    }

    pub(super) fn parent(&self, link: Link) -> u16 {
        if link.is_leaf() {
            self.leaves[link.index()].parent
        } else {
            self.node_parents[link.index()]
        }
    }

    /// Which child of its parent a link is.
    pub(super) fn side(&self, parent: u16, link: Link) -> usize {
        usize::from(self.nodes[parent as usize].children[1].same_place(link))
    }

    /// The leaf a point falls to from `link`, and the number of cuts on the way.
    #[inline(always)]
    pub(super) fn descend(&self, mut link: Link, point: &[f32]) -> (usize, usize) {
        let mut depth = 0;
        while !link.is_leaf() {
            let node = &self.nodes[link.index()];
            link = node.children[usize::from(point[self.dimension(link)] > node.cut)];
            depth += 1;
        }
        (link.index(), depth)
    }

    pub(super) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + (self.boxes.capacity() + self.points.capacity()) * size_of::<f32>()
            + (self.node_parents.capacity() + self.cut_dimensions.capacity()) * size_of::<u16>()
            + self.leaves.capacity() * size_of::<Leaf>()
    }
}
