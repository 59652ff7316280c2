//! The blocks above the last final one, by digest: who their parents are, and whether their bytes
//! are durable.
//!
//! A block is *connected* when it and all its ancestors down to the root are durable; a notarized
//! block that is connected is certified.

use crate::config::{Config, FAR_HEADERS_MAX, KEEP_HEIGHTS_MAX, Parent, Root, WALK_HEIGHTS_MAX};
use skerry_types::block::{BlockKind, Header};
use skerry_types::certificate::Certificate;
use skerry_types::ids::{Digest, Height, View};
use std::collections::BTreeMap;

/// Final blocks whose heights are remembered.
const RECENT_MAX: usize = 64;

/// The tree.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: Parent,
    /// The newest view known to be final: above the root's while something on the way is missing.
    final_view: View,
    genesis_height: Height,
    nodes: BTreeMap<Digest, Node>,
    recent: BTreeMap<Height, Digest>,
}

#[derive(Clone, Debug)]
struct Node {
    header: Header,
    /// The latest view it was proposed or notarized in.
    view: View,
    bytes: Bytes,
    connected: bool,
}

/// Where a block's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// With the glue, unchecked.
    Held,
    /// Being checked and made durable.
    Storing,
    /// Durable.
    Durable,
    /// Nowhere here.
    Missing,
    /// Never well-formed.
    Malformed,
}

/// What stands between a block and its being connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// These bytes have to be fetched.
    Fetch(Digest),
    /// These bytes have to be made durable; they count as being stored from now on.
    Store(Digest),
    /// These bytes are being stored.
    Wait(Digest),
    /// The block known furthest down, or one whose bytes are not here, lies too far above the root to
    /// walk there.
    Behind(Height, Digest),
    /// It can never be: an ancestor's bytes are malformed.
    Malformed(Digest),
    /// It can never be: it does not descend from the root.
    Dead,
}

impl Tree {
    /// The tree of a start.
    pub(crate) fn new(config: &Config, root: Root, blocks: Vec<Header>) -> Self {
        let root = match root {
            Root::Genesis => Parent {
                height: config.genesis_height,
                digest: config.committee.instance().genesis,
                view: View::ZERO,
                time: config.genesis_time,
                header: None,
                certificate: None,
            },
            Root::Finalized {
                header,
                certificate,
            } => parent_of(*header, certificate),
        };
        let recent = BTreeMap::from([(root.height, root.digest)]);
        let genesis_height = config.genesis_height;
        let mut tree = Self {
            final_view: root.view,
            root,
            genesis_height,
            nodes: BTreeMap::new(),
            recent,
        };
        for header in blocks {
            let view = header.view;
            tree.insert(header.digest(), header, view, Bytes::Durable);
        }
        tree
    }

    /// The newest final block that is here with all its ancestors.
    pub(crate) fn root(&self) -> &Parent {
        &self.root
    }

    /// Whether the instance has ended: its seal is final.
    pub(crate) fn is_sealed(&self) -> bool {
        self.root
            .header
            .as_ref()
            .is_some_and(|header| header.kind == BlockKind::Seal)
    }

    /// Blocks above the root.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A view is final, whether its block is here or not.
    pub(crate) fn on_final(&mut self, view: View) {
        self.final_view = self.final_view.max(view);
    }

    /// Whether a height lies so far above the root that no bytes are taken for it: only where more is
    /// final than is here. A chain that finalizes nothing for long may grow as far as it likes.
    pub(crate) fn is_far(&self, height: Height) -> bool {
        self.final_view > self.root.view && height.above(self.root.height) > KEEP_HEIGHTS_MAX
    }

    /// How many headers are remembered without their bytes.
    pub(crate) fn far(&self) -> usize {
        let nodes = self.nodes.values();
        nodes.filter(|node| node.bytes == Bytes::Missing).count()
    }

    /// Forgets headers without bytes when there are too many: what is final by then is synced, and
    /// what is proposed later comes again.
    fn make_room(&mut self) {
        if self.nodes.len() >= FAR_HEADERS_MAX && self.far() >= FAR_HEADERS_MAX {
            self.nodes.retain(|_, node| node.bytes != Bytes::Missing);
        }
    }

    /// The latest view of a block above the root.
    pub(crate) fn view(&self, digest: &Digest) -> Option<View> {
        self.nodes.get(digest).map(|node| node.view)
    }

    /// Whether a block's bytes are wanted: it is not known, or known without bytes.
    pub(crate) fn lacks_bytes(&self, digest: &Digest) -> bool {
        self.nodes
            .get(digest)
            .is_none_or(|node| node.bytes == Bytes::Missing)
    }

    /// Notes a block that came with its bytes. Whether they are to be taken: they are new, and the
    /// block is not far up.
    pub(crate) fn take(&mut self, digest: Digest, header: Header, view: View) -> bool {
        if !self.lacks_bytes(&digest) {
            return false;
        }
        let bytes = if self.is_far(header.height) {
            self.make_room();
            Bytes::Missing
        } else {
            Bytes::Held
        };
        self.insert(digest, header, view, bytes);
        bytes == Bytes::Held
    }

    /// Notes a block; what is known of its bytes is kept unless they were missing.
    pub(crate) fn insert(&mut self, digest: Digest, header: Header, view: View, bytes: Bytes) {
        if view <= self.root.view || digest == self.root.digest {
            return;
        }
        let fresh = Node {
            header,
            view,
            bytes,
            connected: false,
        };
        let node = self.nodes.entry(digest).or_insert(fresh);
        node.view = node.view.max(view);
        if node.bytes == Bytes::Missing {
            node.bytes = bytes;
        }
    }

    /// Notes that a block was notarized in `view`; only a seal is so in more than one.
    pub(crate) fn on_notarized(&mut self, digest: &Digest, view: View) {
        if let Some(node) = self.nodes.get_mut(digest) {
            node.view = node.view.max(view);
        }
    }

    /// Notes what became of a block's bytes.
    pub(crate) fn on_bytes(&mut self, digest: &Digest, bytes: Bytes) {
        if let Some(node) = self.nodes.get_mut(digest)
            && node.bytes != Bytes::Durable
        {
            node.bytes = bytes;
        }
    }

    /// Whether the block and all its ancestors are durable; see [`Self::pursue`].
    pub(crate) fn is_connected(&self, digest: &Digest) -> bool {
        *digest == self.root.digest || self.nodes.get(digest).is_some_and(|node| node.connected)
    }

    /// What stands between a block and its being connected; nothing when it is.
    pub(crate) fn pursue(&mut self, digest: Digest) -> Vec<Need> {
        let (mut needs, mut path, mut at) = (Vec::new(), Vec::new(), digest);
        let mut below: Option<(Height, Digest)> = None;
        while !self.is_connected(&at) {
            let Some(node) = self.nodes.get_mut(&at) else {
                match below {
                    Some((height, _)) if height <= self.root.height.next() => {
                        return vec![Need::Dead];
                    }
                    Some((height, digest)) if height.above(self.root.height) > WALK_HEIGHTS_MAX => {
                        needs.push(Need::Behind(height, digest));
                    }
                    _ => needs.push(Need::Fetch(at)),
                }
                return needs;
            };
            let height = node.header.height;
            if height <= self.root.height {
                return vec![Need::Dead];
            }
            let is_far = self.final_view > self.root.view
                && height.above(self.root.height) > KEEP_HEIGHTS_MAX;
            match node.bytes {
                Bytes::Missing if is_far => {
                    needs.push(Need::Behind(height, at));
                    return needs;
                }
                Bytes::Held => {
                    node.bytes = Bytes::Storing;
                    needs.push(Need::Store(at));
                }
                Bytes::Storing => needs.push(Need::Wait(at)),
                Bytes::Missing => needs.push(Need::Fetch(at)),
                Bytes::Malformed => return vec![Need::Malformed(at)],
                Bytes::Durable => {}
            }
            path.push(at);
            below = Some((node.header.height, at));
            at = node.header.parent;
        }
        if needs.is_empty() {
            for digest in path {
                if let Some(node) = self.nodes.get_mut(&digest) {
                    node.connected = true;
                }
            }
        }
        needs
    }

    /// A connected block as a parent, with the certificate of one of its views.
    pub(crate) fn parent(
        &self,
        digest: &Digest,
        certificate: Option<&Certificate>,
    ) -> Option<Parent> {
        if *digest == self.root.digest {
            return Some(self.root.clone());
        }
        let node = self.nodes.get(digest).filter(|node| node.connected)?;
        Some(parent_of(node.header.clone(), certificate?.clone()))
    }

    /// The height of a block at or above the root, or of a recent final one.
    pub(crate) fn height(&self, digest: &Digest) -> Option<Height> {
        let recent = self.recent.iter().find(|(_, other)| *other == digest);
        let recent = recent.map(|(height, _)| *height);
        recent.or_else(|| self.nodes.get(digest).map(|node| node.header.height))
    }

    /// Whether the block is final, as far as is remembered.
    pub(crate) fn is_final(&self, digest: &Digest) -> bool {
        self.recent.values().any(|other| other == digest)
    }

    /// Height of the block that the instance starts from.
    pub(crate) fn genesis_height(&self) -> Height {
        self.genesis_height
    }

    /// Makes a connected block the root. Returns the headers from the old root's child to it.
    pub(crate) fn finalize(&mut self, certificate: &Certificate) -> Vec<Header> {
        let mut headers = Vec::new();
        let mut at = certificate.statement.digest();
        while let Some(node) = at.and_then(|digest| self.nodes.get(&digest)) {
            headers.push(node.header.clone());
            at = Some(node.header.parent);
        }
        debug_assert_eq!(
            at,
            Some(self.root.digest),
            "a connected block descends from the root"
        );
        headers.reverse();
        if let Some(last) = headers.last() {
            self.set_root(parent_of(last.clone(), certificate.clone()), &headers);
        }
        headers
    }

    /// Makes a block the root that was synced in another way.
    pub(crate) fn jump(&mut self, header: Header, certificate: Certificate) {
        self.set_root(parent_of(header.clone(), certificate), &[header]);
    }

    fn set_root(&mut self, root: Parent, headers: &[Header]) {
        self.root = root;
        for header in headers {
            self.recent.insert(header.height, header.digest());
        }
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
        // Whatever was notarized in a view at or below a final one is final itself or dead. A seal may
        // have been proposed again in a later view than the one that made it final.
        let (view, digest) = (self.root.view, self.root.digest);
        self.nodes
            .retain(|other, node| node.view > view && *other != digest);
        self.reconnect();
    }

    /// Finds anew what is connected, from the root up.
    fn reconnect(&mut self) {
        let mut order: Vec<(Height, Digest)> = self
            .nodes
            .iter()
            .map(|(digest, node)| (node.header.height, *digest))
            .collect();
        order.sort_unstable();
        for (_, digest) in order {
            let Some(node) = self.nodes.get(&digest) else {
                continue;
            };
            let connected = node.bytes == Bytes::Durable
                && node.header.height > self.root.height
                && self.is_connected(&node.header.parent);
            if let Some(node) = self.nodes.get_mut(&digest) {
                node.connected = connected;
            }
        }
    }
}

fn parent_of(header: Header, certificate: Certificate) -> Parent {
    Parent {
        height: header.height,
        digest: header.digest(),
        view: certificate.view(),
        time: header.time,
        header: Some(Box::new(header)),
        certificate: Some(certificate),
    }
}
