// Package entity is what Azure Service Bus queues do, in memory: locks, counts,
// sub-queues, scheduling, duplicate detection, sessions. It speaks no protocol;
// the front that does stands over it. It is a double for tests and for trials on
// one machine: nothing is kept when the process ends.
//
// A Namespace has Queues. Messages are sent to a Queue and received from a Source:
// the queue itself or one of its sub-queues. A front attaches a Receiver to a
// Source and grants it credit; deliveries come by callback. Whatever has a lock is
// settled at its Source by the lock's Token, whether its receiver is still there
// or not.
//
// A message given to Send or Schedule belongs to the queue: its giver changes it no
// more. A message that is given out is a copy whose sections may be read, and its
// header and annotations changed; its properties, application properties and body
// are shared and must only be read.
//
// All methods may be called concurrently. Callbacks run while the queue is locked:
// they must not block and must not call this package; they put the delivery where
// the front's own goroutine finds it. So nothing is delivered to a receiver after
// its Close has returned.
package entity
