package queue

// Connected says whether the connection to the queue stands now; known is false for
// a queue that cannot tell.
func (q *Queue) Connected() (connected, known bool) {
	c, ok := q.driver.(interface{ Connected() bool })
	return ok && c.Connected(), ok
}
