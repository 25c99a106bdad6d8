package erp

import (
	"context"
	"net/http"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// maxBCBatch is how many requests Business Central takes in a batch.
const maxBCBatch = 100

func checkBCBatch(cfg *adapters.RouteConfig) error {
	switch {
	case cfg.Map == "":
		return bad("batch needs a map").WithHint("it gives an array of {method, url, body}")
	case cfg.Write != "" && cfg.Write != writeCreate:
		return bad("batch goes with write: create; each request of the batch has a method of its own")
	case cfg.Finish != "":
		return bad("batch goes with no finish: posting commits by itself, so that the batch would no longer be one")
	}
	return nil
}

// writeBatch makes one request of all those that the map gives. Under
// Isolation: snapshot they happen all, or none, but for what commits by itself,
// as posting does.
func (f bcDocuments) writeBatch(ctx context.Context, m *message) (*operation, error) {
	parts, err := batchParts(ctx, m, maxBCBatch)
	if err != nil {
		return nil, err
	}
	for i := range parts {
		p := &parts[i]
		p.url = strings.TrimPrefix(p.url, "/")
		switch {
		case strings.HasPrefix(p.url, "companies("):
		case f.company == "":
			p.url = "companies(" + f.name + ")/" + p.url
		default:
			p.header["Company"] = f.name
		}
		if p.header["If-Match"] == "" && p.method != http.MethodPost {
			p.header["If-Match"] = "*"
		}
	}
	data, err := jsonBatch(parts, "")
	if err != nil {
		return nil, err
	}
	return &operation{
		method: http.MethodPost, url: f.r.dest.base.under("/$batch", ""), body: ferry.NewBodyReader(data), size: int64(len(data)),
		header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Isolation": {"snapshot"}},
	}, nil
}

// unpack gives the answer that counts of those in the answer to a batch.
func (f bcDocuments) unpack(ctx context.Context, m *message, a *httpcall.Answer) *httpcall.Answer {
	if !f.r.cfg.Batch {
		return a
	}
	return unpackBatch(ctx, m, a)
}
