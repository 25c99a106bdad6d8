package connector

// shapes are the definitions that do not depend on routes: what the broker answers,
// in the words of makers. Each field is one of the answer's own, under its name;
// what only programs and operators need is left out, and may come all the same.
func shapes() object {
	return object{
		{"AcceptedMessage", group(
			text("id", "ID", "The message's id. Get a message tells where it stands."),
			text("route", "Route", "The route that it was sent to."),
			text("state", "State", "Accepted, or where it stands when it was known already."),
			yesNo("duplicate", "Duplicate", "Yes when the same message was sent before: the id is that of the first, and nothing is delivered twice."),
			whole("revision", "Revision", "Set when the content replaced that of a dead letter."),
			text("possibleRepeatOf", "Possible Repeat Of", "The id of an earlier message that looks like the same, when neither has a Message ID."),
			link("statusUrl", "Status URL", "Where the message can be read."),
		)},
		{"Message", message()},
		{"Connection", group(
			text("name", "Name", "Whose key the connection has."),
			text("keyId", "Key ID", "The part of the key that may be shown."),
			text("role", "Role", "What the key may do."),
			list("routes", "Routes", "The routes that the key may use; none means all.", obj("type", "string")),
			text("environment", "Environment", "The environment of the broker, such as prod."),
			text("version", "Version", "The broker's version."),
		)},
		{"Subscription", internal(group(
			text("id", "ID", "The id of the subscription."),
			text("secret", "Secret", "What callbacks are signed with."),
		))},
		{"RouteList", group(
			list("items", "Routes", "The routes that the connection may use.", group(
				text("name", "Name", "The route's name."),
				text("title", "Title", "What people call the route."),
				text("description", "Description", "What is sent there."),
			)),
		)},
		{"RouteSchema", group(
			text("route", "Route", "The route's name."),
			text("title", "Title", "What people call the route."),
			member{"schema", obj("type", "object", "x-ms-summary", "Schema", "description", "The fields of its messages.")},
		)},
		{"Problem", group(
			text("title", "Title", "What went wrong, in a few words."),
			whole("status", "Status", "The HTTP status."),
			text("detail", "Detail", "What is wrong, in a sentence."),
			text("code", "Code", "The stable name of the error."),
			text("hint", "Hint", "What helps."),
			text("requestId", "Request ID", "The request in the broker's log."),
			list("errors", "Errors", "Each fault of the message.", group(
				text("detail", "Detail", "What is wrong."),
				text("pointer", "Pointer", "Where in the message."),
			)),
			text("id", "ID", "The message that has the Message ID already."),
			text("state", "State", "Where that message stands."),
			link("statusUrl", "Status URL", "Where that message can be read."),
		)},
	}
}

// message is the envelope: what Get a message, the end of Send and wait, and both
// triggers give.
func message() object {
	return group(
		text("id", "ID", "The message's id."),
		text("route", "Route", "The route that it was sent to."),
		text("state", "State", "Accepted, queued or retrying while it is on its way; completed, deadLettered or discarded at the end."),
		text("reference", "Reference", "The destination's own document number."),
		anything("result", "Result", "What else the destination answered."),
		text("idempotencyKey", "Message ID", "The business key that the sender gave."),
		text("correlationId", "Correlation ID", "The business case that it belongs to."),
		text("orderingKey", "Session ID", "Messages of one session are delivered one after the other."),
		member{"deadLetter", titled("Dead Letter", "Why the message was set aside; only of a dead letter.", group(
			text("reason", "Dead Letter Reason", "Rejected, AttemptsExhausted, Expired, OutcomeUnknown, AlreadyExists, Undeliverable or BodyMissing."),
			text("code", "Error Code", "The destination's error code."),
			text("description", "Dead Letter Description", "What went wrong, in words."),
			moment("at", "Dead Lettered At", "When it was set aside."),
			text("group", "Error Group", "The group of errors alike."),
			text("reference", "Existing Reference", "The document that was found in the destination."),
		))},
		member{"waitingFor", titled("Waiting For", "Why the message is not delivered yet; only of one on its way.", group(
			text("reason", "Waiting Reason", "What it waits for, such as paused, unavailable or dueTime."),
			moment("until", "Waiting Until", "Until when, where that is known."),
			text("detail", "Waiting Detail", "More of it: why the route was paused, say, or what the destination says."),
			text("text", "Waiting Text", "How the last try ended."),
		))},
		list("attempts", "Attempts", "Each call to the destination.", group(
			whole("number", "Attempt Number", "Which call it was."),
			moment("startedAt", "Started At", "When it began."),
			whole("durationMs", "Duration in Milliseconds", "How long it took."),
			text("verdict", "Verdict", "How it ended, such as delivered, rejected or unavailable."),
			whole("status", "HTTP Status", "The status that the destination answered."),
			text("code", "Attempt Error Code", "The destination's error code."),
			text("text", "Attempt Text", "What the destination said."),
		)),
		whole("attemptsTotal", "Attempts Total", "How many calls there were."),
		whole("revision", "Revision", "Which content it is: 1, and one more each time somebody mended it."),
		text("version", "Version", "The version of the route that the message is of."),
		whole("generation", "Generation", "1, and one more each time it was sent again."),
		text("contentType", "Content Type", "The kind of content."),
		whole("size", "Size", "Bytes of the content."),
		moment("createdAt", "Created At", "When it was accepted."),
		moment("updatedAt", "Updated At", "When something last happened to it."),
		moment("deliverAt", "Deliver At", "It is not delivered before."),
		moment("expiresAt", "Expires At", "Until when delivery is tried."),
		member{"sender", titled("Sender", "Who sent it.", group(
			text("name", "Sender Name", "The name of the key."),
			member{"flow", titled("Flow", "The flow run that sent it.", group(
				text("name", "Flow Name", "The id of the flow."),
				text("runId", "Flow Run ID", "The id of the run."),
				text("operation", "Flow Action", "The name of the action."),
				link("runUrl", "Flow Run URL", "The page of the run, where its parts are known."),
			))},
		))},
		member{"owner", titled("Owner", "Whom to ask about the route.", group(
			text("name", "Owner Name", "Who it is."),
			text("email", "Owner Email", "Their e-mail address."),
		))},
		text("environment", "Environment", "The environment of the broker, such as prod."),
		text("conflict", "Conflict", "What came to light too late, such as a delivery after the message was discarded."),
		link("statusUrl", "Status URL", "Where the message can be read."),
	)
}

// group is an object of fields.
func group(fields ...member) object {
	return obj("type", "object", "properties", object(fields))
}

// titled puts title and description before a schema.
func titled(title, description string, schema object) object {
	return append(obj("x-ms-summary", title, "description", description), schema...)
}

func named(name, title, description string, schema object) member {
	return member{name, append(schema, obj("x-ms-summary", title, "description", description)...)}
}

func text(name, title, description string) member {
	return named(name, title, description, obj("type", "string"))
}

func link(name, title, description string) member {
	return named(name, title, description, obj("type", "string", "format", "uri"))
}

func moment(name, title, description string) member {
	return named(name, title, description, obj("type", "string", "format", "date-time"))
}

func whole(name, title, description string) member {
	return named(name, title, description, obj("type", "integer"))
}

func yesNo(name, title, description string) member {
	return named(name, title, description, obj("type", "boolean"))
}

func anything(name, title, description string) member {
	return named(name, title, description, nil)
}

func list(name, title, description string, element object) member {
	return named(name, title, description, obj("type", "array", "items", element))
}

// internal hides every field of a schema from makers.
func internal(schema object) object {
	fields := schema.object("properties")
	for i := range fields {
		field, _ := fields[i].value.(object)
		fields[i].value = field.with("x-ms-visibility", "internal")
	}
	return schema
}
