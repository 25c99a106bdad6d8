package erp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/httpauth"
	"ferry/mapping"
)

// acumatica is the dialect of Acumatica ERP (and of MYOB Acumatica): its
// contract-based REST API. PUT creates, or writes over the record of the same key
// fields; an act runs on behind a 202. Modelled on the integration guides of
// Acumatica and MYOB Acumatica, on Acumatica's own client for C#, and on answers
// that other clients of it keep in their tests.
func acumatica() dialect {
	// What the body says counts for refusals: a success is one by its status.
	refusals := httpcall.Between(400, 599)
	return dialect{
		verdicts: append(httpcall.Table{
			{Status: refusals, Says: regexp.MustCompile(`(?i)another process has (updated|deleted)`), Kind: stale, Effect: ferry.EffectNone},
			{Status: refusals, Says: regexp.MustCompile(`(?i)another process has added`), Kind: conflict},
			// What is wrong with a record comes as 500 from older versions; so does a record
			// that is there and cannot be written any more.
			{Status: httpcall.Status(500), Code: acumaticaRefusals, Kind: conflict},
			{Status: refusals, Says: acumaticaFull, Kind: ferry.Throttled, Effect: ferry.EffectNone},

			// 412 answers If-None-Match: the record is there.
			{Status: httpcall.Status(412), Kind: conflict},
		}, byStatus()...),
		lookups: httpcall.Table{
			// A list that holds nothing says that there is none; 404 is an entity, or a
			// version of the endpoint, that does not exist.
			{Status: refusals, Says: acumaticaFull, Kind: ferry.Throttled},
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
		},
		settings: []string{"entity", "write", "key", "finish", "lookup.where", "company", "version"},
		open:     openAcumatica,
		form:     newAcumaticaForm,
		session:  newAcumaticaSession,
		problem:  acumaticaProblem,
		health:   "/entity",
	}
}

var (
	// acumaticaRefusals are exceptions that say what is wrong with a record.
	acumaticaRefusals = regexp.MustCompile(`^(OutcomeEntityHasErrorsException|PXOuterException|PXRowPersistingException|PXSetPropertyException|PXFieldValueProcessingException)$`)
	// acumaticaFull says that the license's sessions or requests are all in use.
	acumaticaFull = regexp.MustCompile(`(?i)api login limit|concurrent api logins?|apiloginlimit|checkapiuserslimits|maximum number of .*(users|sessions|requests)`)
	// acumaticaVersion is a version of an endpoint, with the endpoint's name in front.
	acumaticaVersion = regexp.MustCompile(`^(?:([\w.-]+)/)?(\d+\.\d+\.\d+)$`)
)

// openAcumatica checks the endpoint, and how the destination is logged on to: with
// a user name and a password it is by a session of its own.
func openAcumatica(d *destination) error {
	m := acumaticaVersion.FindStringSubmatch(d.cfg.Version)
	switch {
	case d.cfg.Version == "":
		return bad("version is missing").WithHint("that of the endpoint, such as 24.200.001, or MyEndpoint/24.200.001")
	case m == nil:
		return bad("version: %q cannot be read", d.cfg.Version).WithHint("such as 24.200.001, or MyEndpoint/24.200.001")
	case m[1] == "":
		d.cfg.Version = "Default/" + d.cfg.Version
	}
	if _, d.dialect.ownLogon = d.auth.(httpauth.Credentials); !d.dialect.ownLogon && d.cfg.Company != "" {
		return bad("company is for auth of type basic, by which a session is logged on").
			WithHint("with oauth2 the tenant stands in clientId: CLIENT@TENANT")
	}
	d.base.prefix = strings.TrimSuffix(d.base.prefix, "/entity")
	return nil
}

// acumaticaForm is one entity of an endpoint.
type acumaticaForm struct {
	r    *route
	path string // of the entity, escaped
}

func newAcumaticaForm(r *route, cfg *adapters.RouteConfig) (form, error) {
	if cfg.Entity == "" {
		return nil, bad("entity is missing").WithHint("of the endpoint, such as entity: Bill")
	}
	if cfg.Company != "" {
		return nil, bad("company belongs to the destination, which logs on to it")
	}
	endpoint, version, _ := strings.Cut(r.dest.cfg.Version, "/")
	f := &acumaticaForm{r: r, path: "/entity/" + url.PathEscape(endpoint) + "/" + version + "/" + url.PathEscape(cfg.Entity)}
	if cfg.Finish != "" {
		if !acumaticaName.MatchString(cfg.Finish) {
			return nil, bad("finish: %q cannot be an action", cfg.Finish).WithHint("an action of the entity, such as ReleaseBill")
		}
		if cfg.Confirm == "" {
			cfg.Confirm = adapters.ConfirmPoll
		}
	}
	if cfg.Reference == "" {
		cfg.Reference = acumaticaNumber
	}
	if cfg.Lookup != nil && cfg.Lookup.Reference == "" {
		cfg.Lookup.Reference = cfg.Reference
	}
	return f, nil
}

var acumaticaName = regexp.MustCompile(`^[A-Za-z]\w*$`)

// acumaticaNumber is where most documents have their number.
const acumaticaNumber = `[.ReferenceNbr, .OrderNbr, .ShipmentNbr, .BatchNbr, .TransactionNbr | .value? // empty] + [.id] | .[0]`

// searches: PUT goes by the entity's key fields, and the field that bears the key
// need not be one. With write: upsert it is.
func (f *acumaticaForm) searches(*message) bool { return f.r.cfg.Write != writeUpsert }

func (f *acumaticaForm) write(ctx context.Context, m *message) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	return f.put(fields)
}

func (f *acumaticaForm) put(fields map[string]any) (*operation, error) {
	return newOperation(http.MethodPut, f.r.dest.base.under(f.path, ""), wrapped(fields))
}

// update names the record by its id, which wins over key fields.
func (f *acumaticaForm) update(ctx context.Context, m *message, document any) (*operation, error) {
	fields, err := m.fields(ctx)
	if err != nil {
		return nil, err
	}
	id, ok := member(document, "id").(string)
	if !ok || id == "" {
		return nil, errors.New("the record has no id")
	}
	fields["id"] = id
	return f.put(fields)
}

func (f *acumaticaForm) find(ctx context.Context, m *message) (*operation, error) {
	keys, err := m.keys(ctx)
	if err != nil {
		return nil, err
	}
	query := odataQuery("$filter", odataFilter(keys, f.r.cfg.Lookup.Where, func(p pair) string { return odataLiteral(p.value) }), "$top", "10")
	return newOperation(http.MethodGet, f.r.dest.base.under(f.path, query), nil)
}

// found takes the record with the key. SQL Server compares without regard
// to case, so that what it found is compared once more; fields that write all
// letters as capitals are taken as they are.
func (f *acumaticaForm) found(m *message, _ *httpcall.Answer, value any) (any, error) {
	records, ok := value.([]any)
	if !ok {
		return nil, errors.New("it holds no list of records")
	}
	keys, err := m.keys(context.Background())
	if err != nil {
		return nil, err
	}
	records = slices.DeleteFunc(records, func(record any) bool { return !hasKeys(record, keys) })
	return oneOf(records, func(record any) string { return f.r.referenceOf(context.Background(), record) })
}

func hasKeys(record any, keys []pair) bool {
	for _, k := range keys {
		want, isText := k.value.(string)
		has, hasText := member(member(record, k.field), "value").(string)
		has = strings.TrimSpace(has)
		if isText && hasText && has != strings.TrimSpace(want) && has != strings.ToUpper(strings.TrimSpace(want)) {
			return false
		}
	}
	return true
}

func (*acumaticaForm) document(value any) any { return value }

// finished goes by the state that documents of finance have; others say so by the
// route's finished.
func (f *acumaticaForm) finished(document any) bool {
	state, _ := member(member(document, "Status"), "value").(string)
	switch state {
	case "On Hold", "Hold":
		return false
	case "Balanced", "Pending Approval", "Pending Release":
		return strings.Contains(f.r.cfg.Finish, "Hold") // what released it from hold is done
	}
	return true
}

func (f *acumaticaForm) finish(_ context.Context, _ *message, document any) (*operation, error) {
	id, ok := member(document, "id").(string)
	if !ok || id == "" {
		return nil, errors.New("the record has no id")
	}
	address := f.r.dest.base.under(f.path+"/"+f.r.cfg.Finish, "")
	return newOperation(http.MethodPost, address, map[string]any{"entity": map[string]any{"id": id}})
}

// told reads how far an act is: 202 goes on, 204 is done. One that failed answers
// with what went wrong, as 500 as well.
func (f *acumaticaForm) told(a *httpcall.Answer, _ *url.URL) (opState, string) {
	switch {
	case a.Status == http.StatusAccepted:
		return stateRunning, ""
	case a.Status >= 200 && a.Status <= 299:
		return stateDone, ""
	case a.Status == http.StatusBadRequest, a.Status == http.StatusUnprocessableEntity, a.Status == http.StatusInternalServerError:
		if p := acumaticaProblem(a); p.Code != "" && !acumaticaFull.MatchString(p.Text) {
			return stateFailed, ""
		}
	}
	return stateUnsaid, ""
}

// acumaticaProblem reads an error: {message, exceptionType, exceptionMessage,
// innerException}, or the record that was sent, with an error beside each value
// that is wrong. Stack traces are not read.
func acumaticaProblem(a *httpcall.Answer) httpcall.Problem {
	value, err := mapping.Decode(a.Body)
	object, ok := value.(map[string]any)
	if err != nil || !ok {
		return httpcall.DecodeProblem(a.Body)
	}
	var p httpcall.Problem
	kind, _ := object["exceptionType"].(string)
	p.Code = kind[strings.LastIndexByte(kind, '.')+1:]
	var said []string
	for inner, depth := object, 0; inner != nil && depth < 4; depth++ {
		text, _ := inner["exceptionMessage"].(string)
		if text == "" && depth > 0 || text == "" && kind == "" {
			text, _ = inner["message"].(string)
		}
		if text = strings.TrimSpace(httpcall.Words(text)); text != "" && !strings.Contains(strings.Join(said, "; "), text) {
			said = append(said, text)
		}
		inner, _ = inner["innerException"].(map[string]any)
	}
	if text, ok := object["error"].(string); ok && len(said) == 0 {
		said = append(said, httpcall.Words(text))
	}
	p.Fields = recordErrors(nil, "", object, 0)
	if len(said) == 0 && len(p.Fields) > 0 {
		said = append(said, "the record is not valid")
	}
	if len(said) == 0 {
		return httpcall.DecodeProblem(a.Body)
	}
	p.Text = strings.Join(said, "; ")
	return p.Bounded()
}
