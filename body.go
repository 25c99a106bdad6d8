package ferry

import (
	"bytes"
	"io"
)

// StagedBody is a body that lies whole and synced in a file of the ledger's
// folder, and that no message refers to yet. Who has one gives it to Accept as
// Message.Staged, which takes it over whatever comes of it, or gives it back by
// Unstage. What a crash leaves, the next start removes.
type StagedBody struct {
	Path   string // of its file
	Size   int64  // bytes
	SHA256 []byte
}

// BodyReader is an open body. It was held against its hash when it was opened, so
// that what comes is what was accepted; who opened it closes it.
type BodyReader struct {
	io.ReadSeekCloser
	Size        int64 // bytes
	SHA256      []byte
	ContentType string // empty: not known
}

// NewBodyReader reads a body that is in memory.
func NewBodyReader(body []byte) io.ReadSeekCloser { return memoryBody{bytes.NewReader(body)} }

// InMemory is the reader of a body that NewBodyReader made; false of any other.
func InMemory(body io.Reader) (*bytes.Reader, bool) {
	m, ok := body.(memoryBody)
	return m.Reader, ok
}

type memoryBody struct{ *bytes.Reader }

func (memoryBody) Close() error { return nil }
