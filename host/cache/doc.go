// Package cache keeps objects for a while: under a key, in variants, with a body that streams in and out, and so that of many who
// miss the same object only one goes to fetch it.
//
// A Cache is the memory of a node; each service has a Space of it, whose keys no other can see. An object is fresh while
// its age (that at the insert, and the time since) is below MaxAge. After that it is stale: usable for StaleWhileRevalidate longer, and
// usable if no newer one can be had for StaleIfError longer. It stays in memory beyond that as long as nothing needs the room, because
// Update can renew it.
//
// # Variants
//
// An object's vary rule names the request headers that select it. A key has a list of rules, the most recently
// inserted first, and at most Options.MaxVariants; the oldest goes with its objects. A request finds the object of the first rule
// that has a usable one for the values of its headers. Absent differs from empty; case, order and repeats of the names do not matter.
//
// # Transactions
//
// Begin never waits. A transaction that finds a fresh object is over with it. If there is none, or it may not be used any more, the
// transaction gets the obligation to bring one, and those that come later wait for it, in the order in which they came. If the object is
// stale but usable, the transaction gets it and the obligation; those that come later get the object alone.
// Which transactions are after the same object is told by the most recent rule.
//
// An obligation ends by Insert or Update, by RecordUncacheable or ChooseStale, or it passes on by Cancel or Close to exactly
// one of those that wait. When it ends, those that wait look again, in order, as though they had come just then. When it passes on, the
// first of them does, and the others go on waiting for it.
// A waiting transaction holds neither goroutine nor thread: Ready takes a function to call.
//
// # Bodies
//
// An object is found as soon as it is inserted, and its body is read while it is written. If its writer gives up, or writes another
// length than it declared, readers get an error and no lookup finds the object again. The bytes that a reader gets are the cache's own: they
// never change, and stay valid as long as anybody holds them, also after the object is gone.
//
// A body that outgrows the cache while it is being read leaves the cache and flows on to its readers; its writer then waits for
// the slowest.
//
// # Memory
//
// Bodies, metadata and a fixed cost for each object are charged to the space. When the space is above its quota, or all are above Options.MaxBytes, the
// objects go that are least likely to be asked for again (S3-FIFO); if all are too much, those of the space that uses most of
// its quota. What is being written, and what an obligation is to renew, stays. What an open reader holds of an object that is gone is not counted.
package cache
