//! The values of a context: a list of links, newest first, shared at its tail.
//!
//! A value is found by the *type* of its key, so that its own type is known where it is read:
//! nothing has to be cast, and a value of a wrong type does not compile. A link knows the number
//! of its key's type; what is behind the number has the type that the key says, because
//! [`Values::with`] is the only way in. Looking up walks the list, as in Go: a request carries a
//! handful.
//!
//! Dropping takes the links one after the other: the last owner of a link gets it whole, its
//! successor with it (`Arc::into_inner` gives it to exactly one), so a list of any length uses no
//! stack.

use std::any::{Any, TypeId};
use std::sync::Arc;

/// The name of a value in a context, and the type of that value. A key is a type; an empty one of
/// the module that owns the value does. Only who can name the type can set or read the value.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
/// use millpond::{Context, context::Key};
///
/// struct RequestId;
/// impl Key for RequestId {
///     type Value = u64;
/// }
///
/// let ctx = Context::background().with_value::<RequestId>(7);
/// assert_eq!(ctx.value::<RequestId>(), Some(&7));
/// ```
pub trait Key: 'static {
    /// What the key stands for. Shared by all clones and descendants of the context.
    type Value: Send + Sync + 'static;
}

/// See the module documentation. Immutable, so nothing protects it.
#[derive(Clone, Default)]
pub(super) struct Values(Option<Arc<Link>>);

struct Link {
    key: TypeId,
    value: Box<dyn Any + Send + Sync>,
    next: Values,
}

impl Values {
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// These and one more, which hides an older one of the same key.
    pub(super) fn with<K: Key>(&self, value: K::Value) -> Self {
        let (key, value) = (TypeId::of::<K>(), Box::new(value));
        Self(Some(Arc::new(Link { key, value, next: self.clone() })))
    }

    /// The newest value of this key.
    pub(super) fn get<K: Key>(&self) -> Option<&K::Value> {
        let mut at = self;
        while let Some(link) = &at.0 {
            if link.key == TypeId::of::<K>() {
                return link.value.downcast_ref();
            }
            at = &link.next;
        }
        None
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        // A value whose drop panics leaves the rest in `next`, which is dropped in the same way.
        let mut next = self.0.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.next.0.take();
        }
    }
}
