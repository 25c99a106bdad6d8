package sbemu

import "strings"

// Connections is how many AMQP connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Links is how many links there are to a queue: those on which peers send to it, and
// those on which they receive from it or from one of its sub-queues.
func (s *Server) Links(queue string) (senders, receivers int) {
	for _, c := range s.all() {
		c.mu.Lock()
		for _, ses := range c.sessions {
			for _, l := range ses.links {
				b := l.base()
				switch _, sends := l.(*incoming); {
				case b.detached || b.node.kind != kindQueue || !strings.EqualFold(b.node.queue(), queue):
				case sends:
					senders++
				default:
					receivers++
				}
			}
		}
		c.mu.Unlock()
	}
	return senders, receivers
}
