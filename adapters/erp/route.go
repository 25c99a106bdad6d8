package erp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/httpauth"
	"ferry/mapping"
	"ferry/privacy"
)

// route is the adapter of one route.
type route struct {
	dest        *destination
	cfg         adapters.RouteConfig
	method      string
	keyHeader   string // "" for none
	form        form
	private     *privacy.FieldMask          // nil: nothing is masked
	key         map[string]*mapping.Program // of cfg.Key
	url         *template
	query       *template
	whole       *template         // url with query
	fixed       *url.URL          // the address of whole, where no message changes it
	header      http.Header       // of every request; see fixedHeaders
	headers     map[string][]part // those that a message fills in
	mapping     *mapping.Program  // nil: the payload as it is
	finished    *mapping.Program  // nil: the form tells
	reference   *mapping.Program
	result      *mapping.Program
	lookup      *lookup // nil: the destination cannot be asked
	contentType string

	confirm       string // how the destination says later what became of it; "" : at once
	confirmHeader string // of confirm: callback; "" for none
	poll          poll
}

// lookup is how the destination is asked for a document.
type lookup struct {
	url       *template
	reference *mapping.Program
	result    *mapping.Program
	same      *mapping.Program
}

// Route makes the adapter of one route.
func (d *destination) Route(cfg adapters.RouteConfig) (adapters.Adapter, error) {
	r := &route{dest: d, cfg: cfg}
	if err := r.compile(); err != nil {
		return nil, withContext("route "+cfg.Route, err)
	}
	return r, nil
}

func (r *route) compile() error {
	if err := r.compileForm(); err != nil {
		return err
	}
	cfg := r.cfg
	switch r.method = strings.ToUpper(cfg.Method); r.method {
	case "":
		r.method = http.MethodPost
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return bad("method: %q does not deliver", cfg.Method).WithHint("POST, PUT or PATCH")
	}
	switch r.keyHeader = cfg.KeyHeader; {
	case cfg.KeyHeader == "":
		if _, is := r.form.(addressed); is {
			r.keyHeader = defaultKeyHeader
		}
	case cfg.KeyHeader == "-":
		r.keyHeader = ""
	case !httpauth.IsHeaderName(cfg.KeyHeader) || httpauth.IsConnectionHeader(cfg.KeyHeader) || carriesSecret(cfg.KeyHeader):
		return bad("keyHeader: %q cannot carry the external key", cfg.KeyHeader)
	default:
		r.keyHeader = http.CanonicalHeaderKey(cfg.KeyHeader)
	}
	if h := cfg.RequestIDHeader; h != "" && (!httpauth.IsHeaderName(h) || httpauth.IsConnectionHeader(h) || carriesSecret(h)) {
		return bad("requestIdHeader: %q cannot carry an id", h)
	}
	if !validValue(cfg.ContentType) {
		return bad("contentType has characters that a header cannot carry")
	}
	var err error
	if r.headers, err = headerParts(cfg.Headers); err != nil {
		return err
	}
	if r.private, err = privacy.NewFieldMask(slices.Concat(r.dest.cfg.Mask, cfg.Mask)); err != nil {
		return withContext("mask", err)
	}
	if r.url, err = parseTemplate("url", cfg.URL); err != nil {
		return err
	}
	if r.query, err = parseQuery(cfg.Query); err != nil {
		return err
	}
	for _, p := range []struct {
		setting, src string
		program      **mapping.Program
	}{{"map", cfg.Map, &r.mapping}, {"finished", cfg.Finished, &r.finished}, {"reference", cfg.Reference, &r.reference}, {"result", cfg.Result, &r.result}} {
		if *p.program, err = compile(p.setting, p.src); err != nil {
			return err
		}
	}
	r.contentType = cfg.ContentType
	if r.contentType == "" && r.mapping != nil {
		r.contentType = "application/json"
	}
	r.whole, r.header = r.url.withQuery(r.query), r.fixedHeaders()
	r.fixed = r.fixedAddress(r.whole)
	if err := r.compileEvents(); err != nil {
		return err
	}
	if err := r.compileLookup(); err != nil {
		return err
	}
	if err := r.compileActs(); err != nil {
		return err
	}
	return r.compileConfirm()
}

// compileForm lets the dialect complete the settings, and checks those that all
// dialects share.
func (r *route) compileForm() error {
	d := &r.dest.dialect
	if r.cfg.Lookup != nil {
		own := *r.cfg.Lookup // the dialect may complete it
		r.cfg.Lookup = &own
	}
	if err := d.refuseSettings(r.dest.cfg.Dialect, routeSettings(&r.cfg)); err != nil {
		return err
	}
	switch cfg := r.cfg; {
	case cfg.KeyLength != 0 && cfg.KeyField == "":
		return bad("keyLength is the length of keyField, which is missing")
	case cfg.KeyLength != 0 && (cfg.KeyLength < 8 || cfg.KeyLength > ferry.MaxKeyLength):
		return bad("keyLength is %d", cfg.KeyLength).WithHint("8 to %d", ferry.MaxKeyLength)
	}
	r.key = map[string]*mapping.Program{}
	for field, src := range r.cfg.Key {
		program, err := compile("key."+field, src)
		if err != nil {
			return err
		}
		if program == nil {
			return bad("key.%s is empty", field).WithHint("jq over the payload, such as .invoice.number")
		}
		r.key[field] = program
	}
	if d.form == nil {
		r.form = plain{r}
		return nil
	}
	var err error
	r.form, err = d.form(r, &r.cfg)
	return err
}

func (r *route) compileLookup() error {
	cfg := r.cfg.Lookup
	if cfg == nil {
		return nil
	}
	var err error
	l := &lookup{}
	if l.url, err = parseTemplate("lookup.url", cfg.URL); err != nil {
		return err
	}
	if _, is := r.form.(addressed); is {
		if err := l.asksForMessage(); err != nil {
			return err
		}
	} else if r.cfg.KeyField == "" && len(r.cfg.Key) == 0 {
		return bad("the lookup asks for no message: neither keyField nor key is set").
			WithHint("keyField: the document's field that bears the external key")
	}
	if cfg.Reference == "" {
		return bad("lookup.reference is missing").WithHint("jq over the answer, such as .items[0].id; null means absent")
	}
	for _, p := range []struct {
		setting, src string
		program      **mapping.Program
	}{{"lookup.reference", cfg.Reference, &l.reference}, {"lookup.result", cfg.Result, &l.result}, {"lookup.same", cfg.Same, &l.same}} {
		if *p.program, err = compile(p.setting, p.src); err != nil {
			return err
		}
	}
	r.lookup = l
	return nil
}

// asksForMessage checks that the address tells one message from another.
func (l *lookup) asksForMessage() error {
	names := l.url.names()
	if slices.Contains(names, confirmURL) {
		return bad("lookup.url has {confirmUrl}, which is for what is delivered")
	}
	if !slices.Contains(names, "externalKey") && !slices.Contains(names, messageID) && !l.url.hasPrograms() {
		return bad("lookup.url asks for no message: it has neither {externalKey} nor {messageId}, nor a program").
			WithHint("such as /invoices?externalId={externalKey}")
	}
	return nil
}

func compile(setting, src string) (*mapping.Program, error) {
	if src == "" {
		return nil, nil
	}
	program, err := mapping.CompileVars(src, adapters.Variables()...)
	if err != nil {
		return nil, withContext(setting, err)
	}
	return program, nil
}

// CanLookup says whether the route has a lookup.
func (r *route) CanLookup() bool { return r.lookup != nil }
