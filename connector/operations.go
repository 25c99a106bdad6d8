package connector

// The texts that several actions share.
const (
	sendText = "Hands over a message and goes on at once. When this action ends the message is safe; it is delivered as soon as the destination is ready."
	waitText = "Hands over a message and waits for its end, hours if need be. A message that is dead-lettered does not fail this action: State says how it ended, Reference is the destination's own document number."
)

// operations are the paths of the definition: those of any route, the triggers, then
// two actions for each route.
func (d *definition) operations() object {
	at := d.at.prefix
	paths := object{
		{at + "/v1/routes/{route}/messages", object{{"post", sendOperation(
			"SendMessage", "Send a message to any route", sendText+" For routes that have no action of their own.", append([]any{routePath()}, options()...), bodyOfAny(), "")}}},
		{at + "/v1/routes/{route}/messages/wait", object{{"post", waitOperation(
			"SendMessageAndWait", "Send a message to any route and wait", waitText, append([]any{routePath()}, waitOptions()...), bodyOfAny(), "")}}},
		{at + "/v1/messages/{id}", object{{"get", getMessage()}}},
		{at + "/v1/me", object{{"get", getConnection()}}},
		{at + "/v1/routes", object{{"get", listRoutes()}}},
		{at + "/v1/routes/{route}/schema", object{{"get", getRouteSchema()}}},
		{at + "/v1/subscriptions/completed", trigger(
			"WhenMessageCompleted", "When a message is completed",
			"Starts the flow when the destination has a message. Reference is its own document number.",
			"To see it work now, send a message and wait until it is delivered.")},
		{at + "/v1/subscriptions/dead-lettered", trigger(
			"WhenMessageDeadLettered", "When a message is dead-lettered",
			"Starts the flow when a message is set aside for a person. Dead Letter says why; the message can be mended and sent again.",
			"To see it work now, send a message that the destination refuses.")},
		{at + "/v1/subscriptions/{id}", object{{"delete", unsubscribe()}}},
	}
	for _, t := range d.routes {
		about := sentence(t.route.Description, "")
		if about != "" {
			about += " "
		}
		path := at + t.path
		about = t.ends + about
		paths = append(paths,
			member{path, object{{"post", t.retire(sendOperation(t.send+"To"+pascal(t.route.Name), "Send to "+t.called, about+sendText, options(), t.body(), "important"))}}},
			member{path + "/wait", object{{"post", t.retire(waitOperation(t.send+"AndWaitTo"+pascal(t.route.Name), "Send to "+t.called+" and wait", about+waitText, waitOptions(), t.body(), "important"))}}},
		)
	}
	return paths
}

// retire keeps an old version's action out of new flows; those that have it go on.
func (t *typed) retire(op object) object {
	if !t.old {
		return op
	}
	return append(op, member{"deprecated", true})
}

func sendOperation(id, summary, text string, parameters []any, body object, visibility string) object {
	return obj(
		"operationId", id, "summary", summary, "description", text, "x-ms-visibility", visibility,
		"parameters", append(parameters, body),
		// A repeat is answered 200 with the same shape; designers take the shape of one.
		"responses", object{
			{"201", answer("The message is safe. Duplicate says whether it was known already.", "AcceptedMessage")},
			{"409", answer("The Message ID was used with other content: the answer names the first message.", "Problem")},
			refusals(),
		},
	)
}

func waitOperation(id, summary, text string, parameters []any, body object, visibility string) object {
	return obj(
		"operationId", id, "summary", summary, "description", text, "x-ms-visibility", visibility,
		"parameters", append(parameters, body),
		"responses", object{
			{"200", answer("The end of the message.", "Message")},
			{"202", obj("description", "The message is safe and on its way; its end is at the Location.")},
			{"409", answer("The Message ID was used with other content: the answer names the first message.", "Problem")},
			refusals(),
		},
	)
}

func answer(text, shape string) object {
	return obj("description", text, "schema", reference(shape))
}

// refusals is every other answer. It has no schema: designers would take it for the
// outputs of the action.
func refusals() member {
	return member{"default", obj("description", "Refused: the answer says why, and what helps.")}
}

func option(name, title, text, visibility string, more ...any) object {
	return append(obj("name", name, "in", "query", "type", "string", "x-ms-summary", title, "description", text, "x-ms-visibility", visibility), obj(more...)...)
}

// options are those of a message. They stand in the query: some gateways drop
// headers that they do not know.
func options() []any {
	return []any{
		option("messageId", "Message ID", "The business key of the message, such as the number of the invoice. A message with the same key is delivered only once, even when the flow runs again.", "important", "maxLength", 128),
		option("sessionId", "Session ID", "Messages with the same session are delivered one after the other, such as all of one customer.", "advanced", "maxLength", 128),
		option("correlationId", "Correlation ID", "Groups the messages of one business case, to find them again.", "advanced", "maxLength", 128),
		option("deliverAt", "Deliver At", "Not before this time, with its offset, such as 2026-11-26T18:00:00Z.", "advanced", "format", "date-time"),
		option("timeToLive", "Time To Live", "How long delivery is tried, such as 30d, 12h or PT5M. Then the message is dead-lettered.", "advanced"),
		option("onConflict", "On Conflict", "What happens when the Message ID is known with other content: nothing said refuses it; replace puts this content into the place of a message that was dead-lettered or discarded.", "advanced",
			"enum", texts("replace"), "x-ms-enum-values", []any{obj("value", "replace", "displayName", "Replace the dead letter")}),
	}
}

func waitOptions() []any {
	return append(options(), option("waitFor", "Wait For", "Which end is waited for. Ended is completed, dead-lettered or discarded; completed waits on while somebody mends a dead letter and sends it again.", "advanced",
		"enum", texts("ended", "completed"),
		"x-ms-enum-values", []any{obj("value", "ended", "displayName", "Any end"), obj("value", "completed", "displayName", "Completed")}))
}

func routePath() object {
	return chosenRoute("name", "route", "in", "path", "required", true, "type", "string",
		"x-ms-summary", "Route", "description", "Where the message goes.", "x-ms-url-encoding", "single")
}

func getMessage() object {
	return obj(
		"operationId", "GetMessage", "summary", "Get a message", "description", "Tells where a message stands, with every attempt to deliver it.",
		"parameters", []any{obj("name", "id", "in", "path", "required", true, "type", "string",
			"x-ms-summary", "ID", "description", "The id that sending the message gave.", "x-ms-url-encoding", "single")},
		"responses", object{
			{"200", answer("The message.", "Message")},
			{"404", answer("There is no such message, or the connection may not see it.", "Problem")},
			refusals(),
		},
	)
}

func getConnection() object {
	return obj(
		"operationId", "GetConnection", "summary", "Check the connection",
		"description", "Tells whose key the connection has and what it may do. It changes nothing: test the connection with it.",
		"responses", object{
			{"200", answer("The connection is good.", "Connection")},
			{"401", answer("The key is not known, has ended, or was revoked.", "Problem")},
			refusals(),
		},
	)
}

func listRoutes() object {
	return obj(
		"operationId", "ListRoutes", "summary", "List routes", "description", "Lists the routes that the connection may use, for the designer.", "x-ms-visibility", "internal",
		"responses", object{{"200", answer("The routes.", "RouteList")}, refusals()},
	)
}

func getRouteSchema() object {
	return obj(
		"operationId", "GetRouteSchema", "summary", "Get the fields of a route", "description", "Tells the fields of a route's messages, for the designer.", "x-ms-visibility", "internal",
		"parameters", []any{obj("name", "route", "in", "path", "required", true, "type", "string",
			"x-ms-summary", "Route", "description", "The name of the route.", "x-ms-url-encoding", "single")},
		"responses", object{{"200", answer("The fields.", "RouteSchema")}, refusals()},
	)
}

// trigger is the path of a subscription: the designer subscribes when the flow is
// turned on, and calls the Location of the answer when it is turned off.
func trigger(id, summary, text, hint string) object {
	return object{
		{"x-ms-notification-content", obj("description", "The message as it ended.", "schema", reference("Message"))},
		{"post", obj(
			"operationId", id, "summary", summary, "description", text, "x-ms-visibility", "important",
			"x-ms-trigger", "single", "x-ms-trigger-hint", hint,
			"parameters", []any{object{
				{"name", "body"},
				{"in", "body"},
				{"required", true},
				{"x-ms-summary", "Subscription"},
				{"description", "What starts the flow."},
				{"schema", object{
					{"type", "object"},
					{"required", texts("callbackUrl")},
					{"properties", object{
						{"callbackUrl", obj("type", "string", "x-ms-summary", "Callback URL", "description", "Where the flow is called, filled in by the designer.",
							"x-ms-visibility", "internal", "x-ms-notification-url", true)},
						{"route", chosenRoute("type", "string", "x-ms-summary", "Route", "description", "Only messages of this route; when left empty, of every route that the connection may see.")},
					}},
				}},
			}},
			"responses", object{
				{"201", answer("The subscription. Its Location ends it, without a key.", "Subscription")},
				refusals(),
			},
		)},
	}
}

func unsubscribe() object {
	return obj(
		"operationId", "Unsubscribe", "summary", "End a subscription", "description", "Ends a subscription when its flow is turned off, edited or deleted.", "x-ms-visibility", "internal",
		"parameters", []any{obj("name", "id", "in", "path", "required", true, "type", "string",
			"x-ms-summary", "Subscription", "description", "The last part of the subscription's Location.", "x-ms-url-encoding", "single")},
		"responses", object{{"204", obj("description", "There is no such subscription any more.")}, refusals()},
	)
}
