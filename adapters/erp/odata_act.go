package erp

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"ferry"
	"ferry/adapters"
)

// odataAct is what is done to a document after it was created: a bound action of
// V4, a function import of V2.
type odataAct struct {
	name  string
	query string // V2: parameters beside the key
}

func (f *odataForm) parseAct(cfg *adapters.RouteConfig) (odataAct, error) {
	if cfg.Finish == "" {
		return odataAct{}, nil
	}
	name, query, _ := strings.Cut(cfg.Finish, "?")
	switch {
	case !isSetName(name) || strings.Contains(name, "/"):
		return odataAct{}, bad("finish: %q names no action", cfg.Finish).WithHint("such as Release, or Namespace.release")
	case query != "" && !f.v2:
		return odataAct{}, bad("finish has parameters, which go with OData V2")
	case cfg.Finished == "":
		return odataAct{}, bad("finished is missing: it tells a document whose %s is done", name).WithHint(`jq over the document, such as .status == "released"`)
	case !f.v2 && len(f.set.names) == 0:
		return odataAct{}, bad("finish needs the names of the entity's key").WithHint("such as entity: %s(ID:guid)", f.set.path)
	case cfg.Batch:
		return odataAct{}, bad("finish does not go with batch: put the act into the batch")
	}
	if _, err := url.ParseQuery(query); err != nil {
		return odataAct{}, bad("finish: its parameters cannot be read")
	}
	return odataAct{name: name, query: query}, nil
}

// finished is told by the route's jq.
func (f *odataForm) finished(any) bool { return false }

func (f *odataForm) finish(_ context.Context, m *message, document any) (*operation, error) {
	address, body := "", io.ReadCloser(nil)
	size := int64(0)
	if f.v2 {
		parameters, err := f.set.parametersOf(document)
		if err != nil {
			return nil, err
		}
		address = f.address(f.act.name, joinQueries(parameters, f.act.query))
	} else {
		key, err := f.set.keyOf(document, false)
		if err != nil {
			return nil, err
		}
		address = f.address(f.set.path+key+"/"+f.act.name, "")
		body, size = ferry.NewBodyReader([]byte("{}")), 2
	}
	op := &operation{method: http.MethodPost, url: address, header: f.versions(), body: body, size: size}
	op.header.Set("Content-Type", "application/json")
	if etag := odataETag(document); etag != "" {
		op.header.Set("If-Match", etag)
	}
	f.repeatable(op.header, m, f.act.name)
	return op, nil
}
