package sbqueue

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"

	"ferry"
	"ferry/queue"
)

// DefaultPrefix begins the names of Ferry's own queues on a namespace.
const DefaultPrefix = "ferry"

// names are those of the queues of one broker.
type names struct{ prefix string }

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$`)

func namesOf(prefix string) (names, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if !prefixForm.MatchString(prefix) {
		return names{}, ferry.Errorf(ferry.CodeBadConfig, "%q cannot begin the names of queues", prefix).
			WithHint("1 to 50 letters, digits, points, dashes and underlines, a letter or a digit first")
	}
	return names{prefix}, nil
}

func (n names) of(address queue.Address) string {
	if address.Kind == queue.Receipts {
		return n.receipts()
	}
	return n.prefix + ".messages." + address.Name
}

func (n names) receipts() string             { return n.prefix + ".receipts" }
func (n names) questions() string            { return n.prefix + ".questions" }
func (n names) worker(worker string) string  { return n.prefix + ".worker." + worker }
func (n names) messages(route string) string { return n.of(queue.MessagesOf(route)) }

// Queues lists the queues that a broker with these routes and workers needs.
func Queues(prefix string, routes, workers []string) ([]string, error) {
	n, err := namesOf(prefix)
	if err != nil {
		return nil, err
	}
	list := []string{n.receipts(), n.questions()}
	for _, route := range routes {
		list = append(list, n.messages(route))
	}
	for _, worker := range workers {
		list = append(list, n.worker(worker))
	}
	return list, nil
}

// maxID is the longest message id that Service Bus takes, in characters.
const maxID = 128

// messageID is a packet's id as Service Bus takes it: one that is too long keeps
// its beginning, and its digest in the place of the rest.
func messageID(id string) string {
	if len(id) <= maxID {
		return id
	}
	const digits = 40
	sum := sha256.Sum256([]byte(id))
	return id[:maxID-digits-1] + "~" + hex.EncodeToString(sum[:])[:digits]
}
