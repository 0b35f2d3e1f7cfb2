//! What a supervisor and its workers count references of: placed where a worker writes anyway (see
//! [`tine_os::nursery`]), so that counting one up costs a worker no copy of a page.

use std::rc::Rc;
use std::sync::Arc;

use tine_os::nursery::gather;

pub(crate) fn rc<T>(value: T) -> Rc<T> {
    gather(|| Rc::new(value))
}

pub(crate) fn arc<T>(value: T) -> Arc<T> {
    gather(|| Arc::new(value))
}
