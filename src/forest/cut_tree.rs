//! The layout of one random cut tree, and the ways through it.
//!
//! Flat arrays that grow with the sample: 8 bytes per inner node, boxes and points apart, so that the way down stays in a few
//! cache lines. A leaf is a distinct point with the number of its copies in the sample, and has no place of its own: all about it
//! is said by the link to it. Where a node holds two leaves, as most leaves are held, their points are opposite corners of its
//! box, and a bit per dimension tells which; only other leaves have their points stored. In: points; out: leaves.

use smallvec::SmallVec;

use super::bounds;

/// The end of the list of free places for points.
pub(super) const NONE: u16 = u16::MAX;

/// Copies that a link can tell; so many mean as many or more.
pub(super) const MANY: u16 = 32;

/// Dimensions of which a node's links can tell where its two leaves are in its box.
const CORNERS: usize = 18;

/// Of these, those of a link.
const CORNERS_OF_ONE: usize = CORNERS / 2;

/// The node above the root, in every tree that has nodes: all points lie in its box and it is its own parent, so that ways up
/// need no branch for their end. Also the end of the list of free nodes.
pub(super) const TOP: u16 = 0;

/// Floats behind the last box, so that a vector can be loaded from any part of any box.
pub(super) const BEHIND: usize = 8;

/// A reference to a node or leaf, as bit 15 says.
///
/// Of a node, bits 10–14 hold the low bits of the dimension it cuts (known before the node itself is loaded, which shortens the
/// wait on the way down), bits 0–9 its index. Of a leaf, bits 10–14 are the number of copies less one, up to [`MANY`]; bits 0–9
/// are the place of its point, or, where both children of a node are leaves and have a bit for every dimension, bit 9 is
/// which child it is, and the others are half of the bits that say whether the first child is at the high end.
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

    /// A leaf with one copy, and ten bits of what is known of its point.
    pub(super) fn leaf(point: u16) -> Link {
        Link(Link::LEAF | point)
    }

    /// The same leaf with another number of copies, at least one.
    pub(super) fn with_mass(self, mass: u16) -> Link {
        Link(self.0 & !(0x1f << 10) | (mass.min(MANY) - 1) << 10)
    }

    /// The same leaf, its point elsewhere.
    pub(super) fn with_point(self, point: u16) -> Link {
        Link(self.0 & !0x3ff | point)
    }

    /// Copies of the leaf's point in the sample; [`MANY`] for as many or more.
    pub(super) fn mass(self) -> u16 {
        (self.0 >> 10 & 0x1f) + 1
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

/// Which leaf: the node above it, and which of its children it is; the top's first is a leaf that is the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf(u16);

impl Leaf {
    pub(super) fn new(above: u16, side: usize) -> Leaf {
        Leaf(above << 1 | side as u16)
    }

    pub(super) fn from_bits(bits: u16) -> Leaf {
        Leaf(bits)
    }

    pub(super) fn bits(self) -> u16 {
        self.0
    }

    pub(super) fn above(self) -> u16 {
        self.0 >> 1
    }

    pub(super) fn side(self) -> usize {
        usize::from(self.0 & 1)
    }

    pub(super) fn sibling(self) -> Leaf {
        Leaf(self.0 ^ 1)
    }
}

/// The leaf of a tree that has no other.
pub(super) const ALONE: Leaf = Leaf(TOP << 1);

/// A leaf that is now another: what has its name must have the new one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renamed {
    pub(super) from: Leaf,
    pub(super) to: Leaf,
}

/// A leaf's point, as it is stored.
pub(super) enum Held<'a> {
    Point(&'a [f32]),
    /// The high end of the box in the dimensions of the bits that are set, else the low end.
    Corner {
        lows: &'a [f32],
        highs: &'a [f32],
        high: u32,
    },
}

impl Held<'_> {
    #[inline(always)]
    fn value(&self, dimension: usize) -> f32 {
        match self {
            Held::Point(point) => point[dimension],
            Held::Corner { lows, highs, high } => match high >> dimension & 1 {
                0 => lows[dimension],
                _ => highs[dimension],
            },
        }
    }

    #[inline(always)]
    pub(super) fn is(&self, point: &[f32]) -> bool {
        (0..point.len()).all(|dimension| self.value(dimension) == point[dimension])
    }
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
    /// The points of the leaves that are no corners.
    pub(super) points: Vec<f32>,
    /// Heads of the lists of free places, which run through the parents and through the points' first values.
    pub(super) free_node: u16,
    pub(super) free_point: u16,
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
            points: Vec::new(),
            free_node: TOP,
            free_point: NONE,
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

    /// The point in one of the places for points.
    #[inline(always)]
    pub(super) fn stored_point(&self, place: usize) -> &[f32] {
        &self.points[place * self.dimensions..(place + 1) * self.dimensions]
    }

    /// The lows and highs of what hangs on a link that is no leaf in a corner.
    pub(super) fn extent(&self, link: Link) -> (&[f32], &[f32]) {
        if link.is_leaf() {
            let point = self.stored_point(link.index());
            (point, point)
        } else {
            self.bounds(link.index())
        }
    }

    /// Whether a node's children are leaves whose points are corners of its box.
    fn holds_corners(&self, node: u16) -> bool {
        let [left, right] = self.nodes[usize::from(node)].children;
        self.dimensions <= CORNERS && left.is_leaf() && right.is_leaf()
    }

    #[inline(always)]
    pub(super) fn held(&self, leaf: Leaf) -> Held<'_> {
        let above = leaf.above();
        if above == TOP || !self.holds_corners(above) {
            return Held::Point(self.stored_point(self.child(leaf).index()));
        }
        let (lows, highs) = self.bounds(usize::from(above));
        let half = |link: Link| link.index() as u32 & ((1 << CORNERS_OF_ONE) - 1);
        let [left, right] = self.nodes[usize::from(above)].children.map(half);
        let of_first = left | right << CORNERS_OF_ONE;
        let high = if leaf.side() == 0 { of_first } else { !of_first };
        Held::Corner { lows, highs, high }
    }

    /// A leaf's point.
    pub(super) fn point(&self, leaf: Leaf) -> SmallVec<[f32; 8]> {
        let held = self.held(leaf);
        (0..self.dimensions).map(|dimension| held.value(dimension)).collect()
    }

    /// Turns the points of a node's two leaves, which are stored, into corners of its box, if there are bits for that.
    pub(super) fn make_corners(&mut self, node: u16) {
        if !self.holds_corners(node) {
            return;
        }
        let [left, right] = self.nodes[usize::from(node)].children;
        let (_, highs) = self.bounds(usize::from(node));
        let of_first = self.stored_point(left.index()).iter().zip(highs).rev();
        let of_first = of_first.fold(0u32, |bits, (x, high)| bits << 1 | u32::from(x == high));
        self.free_point(left);
        self.free_point(right);
        let (one, side) = ((1 << CORNERS_OF_ONE) - 1, 1 << CORNERS_OF_ONE);
        let children = &mut self.nodes[usize::from(node)].children;
        children[0] = left.with_point((of_first & one) as u16);
        children[1] = right.with_point((of_first >> CORNERS_OF_ONE) as u16 | side);
    }

    /// Stores the points of a node's leaves, if they are corners: its box is about to change.
    pub(super) fn leave_corners(&mut self, node: u16) {
        if !self.holds_corners(node) {
            return;
        }
        let points = [0, 1].map(|side| self.point(Leaf::new(node, side)));
        for (side, point) in points.iter().enumerate() {
            let place = self.new_point(point);
            let child = &mut self.nodes[usize::from(node)].children[side];
            *child = child.with_point(place);
        }
    }

    /// A place for a point, which from now on is there.
    pub(super) fn new_point(&mut self, point: &[f32]) -> u16 {
        let place = self.free_point;
        if place == NONE {
            let places = self.points.len() / self.dimensions;
            if self.points.len() == self.points.capacity() {
                self.points.reserve_exact((places / 8).max(4) * self.dimensions);
            }
            self.points.extend_from_slice(point);
            return places as u16;
        }
        let from = usize::from(place) * self.dimensions;
        self.free_point = self.points[from] as u16;
        self.points[from..from + self.dimensions].copy_from_slice(point);
        place
    }

    /// Frees the place of a leaf's point.
    pub(super) fn free_point(&mut self, leaf: Link) {
        self.points[leaf.index() * self.dimensions] = f32::from(self.free_point);
        self.free_point = leaf.index() as u16;
    }

    /// The link to a leaf, or to whatever is in that place.
    pub(super) fn child(&self, leaf: Leaf) -> Link {
        match (leaf.above(), self.root) {
            (TOP, Some(root)) => root,
            (above, _) => self.nodes[usize::from(above)].children[leaf.side()],
        }
    }

    /// Puts what hangs on a link in a place.
    pub(super) fn set_child(&mut self, place: Leaf, link: Link) {
        match place.above() {
            TOP => self.root = Some(link),
            above => self.nodes[usize::from(above)].children[place.side()] = link,
        }
    }

    /// The leaf below a node to which the node's link is this.
    pub(super) fn leaf_below(&self, above: u16, link: Link) -> Leaf {
        let is_second = || self.nodes[usize::from(above)].children[1].bits() == link.bits();
        Leaf::new(above, usize::from(above != TOP && is_second()))
    }

    /// The place of a node below the one above it.
    pub(super) fn place(&self, node: u16) -> Leaf {
        let above = self.node_parents[usize::from(node)];
        let second = self.nodes[usize::from(above)].children[1];
        let is_second = above != TOP && !second.is_leaf() && second.index() == usize::from(node);
        Leaf::new(above, usize::from(is_second))
    }

    /// The leaf a point falls to, and the number of cuts on the way.
    pub(super) fn descend(&self, root: Link, point: &[f32]) -> (Leaf, usize) {
        let (mut link, mut leaf, mut depth) = (root, ALONE, 0);
        while !link.is_leaf() {
            let node = &self.nodes[link.index()];
            let side = usize::from(point[self.dimension(link)] > node.cut);
            leaf = Leaf::new(link.index() as u16, side);
            link = node.children[side];
            depth += 1;
        }
        (leaf, depth)
    }

    pub(super) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + (self.boxes.capacity() + self.points.capacity()) * size_of::<f32>()
            + (self.node_parents.capacity() + self.cut_dimensions.capacity()) * size_of::<u16>()
    }
}
