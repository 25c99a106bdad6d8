package servicebus

import "time"

// timing is every limit of time in here. Tests shorten some.
type timing struct {
	dial    time.Duration // one attempt to connect, and one request for a token
	open    time.Duration // opening a link, with its tokens
	send    time.Duration // a Send whose context has no deadline
	busy    time.Duration // pause after the service said that it is busy
	receive time.Duration // one call of the SDK for messages, before its link is made anew
	grace   time.Duration // how long a call may take to come back once it should
	linger  time.Duration // how long a link may offer to take messages while nobody asks
	settle  time.Duration // each of the two tries to settle
	ask     time.Duration // renewing, peeking
	leave   time.Duration // a Receive whose context ended: until it returns, at most
	close   time.Duration // closing what is dead anyway
	idle    time.Duration // a sender's link that was not used for this long is made anew: the service closes those at 10 min

	paceFirst, paceMost time.Duration // between attempts that fail
	young               time.Duration // a connection that ends younger than this counts as a failed attempt
}

func defaultTiming() timing {
	return timing{
		dial: 15 * time.Second, open: 30 * time.Second, send: 30 * time.Second, busy: 2 * time.Second,
		receive: 5 * time.Minute, grace: 10 * time.Second, linger: 250 * time.Millisecond,
		settle: 5 * time.Second, ask: 10 * time.Second, leave: 2 * time.Second, close: 5 * time.Second, idle: 5 * time.Minute,
		paceFirst: 100 * time.Millisecond, paceMost: 3 * time.Second, young: 5 * time.Second,
	}
}
