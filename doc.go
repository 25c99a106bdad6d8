// Package ferry is the vocabulary of Ferry, a durable integration broker: the
// nouns that every other package speaks of, their states and transitions, the
// limits, the error codes and the ids.
//
// It holds no I/O and imports only the standard library, so that every package
// may import it and it imports none.
//
// The path of the data, in these nouns: a sender posts a [Message]; the ledger
// accepts it ([Accepted]); the relay gives it to the queue as a [HandOut], one
// per turn; a worker calls the destination, which gives a [Verdict], recorded
// as an [Attempt]; the worker reports it as a [Receipt]; the ledger completes
// the message, makes it ready again, or sets it aside as a [DeadLetter]; and
// whoever asks sees all of it as an [Envelope].
package ferry
