package sbqueue

import "ferry/queue"

// Right is what somebody needs on one queue, and nothing beyond: a policy of the
// queue with these rights, or a role for an identity.
type Right struct {
	Queue  string
	Listen bool // Azure Service Bus Data Receiver
	Send   bool // Azure Service Bus Data Sender
}

// BrokerRights lists what a broker with these routes and workers needs. With Manage
// on the namespace it has all of them, can make its queues, and notices at once
// when one was made anew.
func BrokerRights(prefix string, routes, workers []string) ([]Right, error) {
	n, err := namesOf(prefix)
	if err != nil {
		return nil, err
	}
	return rightsOf(n.broker(routes, workers)), nil
}

// WorkerRights lists what a worker needs. It must not get more: whoever may send to
// a worker's queue can speak as the broker.
func WorkerRights(prefix string, w WorkerAuth) ([]Right, error) {
	n, err := namesOf(prefix)
	if err != nil {
		return nil, err
	}
	return rightsOf(n.workers(w.Name, w.Routes)), nil
}

func rightsOf(needs []need) []Right {
	list := make([]Right, len(needs))
	for i, e := range needs {
		list[i] = Right{Queue: e.name, Listen: e.listen, Send: e.send}
	}
	return list
}

// broker lists what a broker needs.
func (n names) broker(routes, workers []string) []need {
	list := []need{n.brokers(queue.AllReceipts()), n.brokersQuestions()}
	for _, route := range routes {
		list = append(list, n.brokers(queue.MessagesOf(route)))
	}
	for _, worker := range workers {
		list = append(list, n.brokersWorker(worker))
	}
	return list
}
