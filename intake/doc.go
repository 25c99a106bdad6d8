// Package intake takes messages that others put into Service Bus queues, flows
// with the standard connector above all, into Ferry's ledger: received under a
// lock, on disk, then completed. And it tells a message's end to the queue that its
// sender named, as a message.
//
// What was put on disk and not completed, because of a kill or a lost answer, comes
// again and is a repeat by its MessageId. What can never be taken in is
// dead-lettered in its own queue, with the reason. While the ledger takes nothing,
// nothing is received and nothing dead-lettered.
package intake
