#!/usr/bin/env python3
"""Walks a running Syncline with an unmodified boto3, from the first host to the last delete.

    boto3_walk.py --endpoint URL [--service NAME] [--region REGION] COMMAND …

    setup      creates a host, a connection (and authorizes it), a repository link and a sync configuration
    authorize  completes one connection's handshake with a token
    wait       waits for the sync to end, and checks what is told of it
    teardown   deletes everything in order, and checks what is refused

Each command prints one JSON object with what it saw. The exit status is 1, with one line on standard error, when an
answer is not what the API promises: a wrong value, an unexpected error, an answer that boto3 cannot parse, or none in
time. Credentials come from the environment, as for every AWS client. A Git token comes from SYNCLINE_WALK_TOKEN,
never from an argument; without one the remote is taken for public.

`setup --state FILE` leaves what `wait` and `teardown` need in FILE. awscli_walk.sh has the same commands and writes
the same file.
"""

import argparse
import datetime
import json
import os
import re
import sys
import time

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.exceptions
import botocore.httpsession

SYNC_TYPE = "CFN_STACK_SYNC"
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
POLL_SECONDS = 0.25


class Mismatch(Exception):
    """An answer that is not what the API promises."""


def check(what, actual, expected):
    if actual != expected:
        raise Mismatch(f"{what} is {actual!r}, not {expected!r}")


def check_all(what, answer, **expected):
    for member, value in expected.items():
        check(f"{what}.{member}", answer.get(member), value)


def check_matches(what, actual, pattern):
    if not isinstance(actual, str) or not re.fullmatch(pattern, actual):
        raise Mismatch(f"{what} is {actual!r}, which does not match {pattern}")


def check_time(what, actual):
    if not isinstance(actual, datetime.datetime):
        raise Mismatch(f"{what} is {actual!r}, not a time")


class Aws:
    """The service's client, which checks what every answer must have.

    An endpoint or a region that is None is boto3's own affair, which looks for it in the environment.
    """

    def __init__(self, service, endpoint, region):
        self.service = service
        self.endpoint = endpoint and endpoint.rstrip("/")
        self.session = boto3.Session(region_name=region)
        self.region = self.session.region_name
        # A proxy of the machine's must not see what goes to loopback.
        config = botocore.config.Config(proxies={}, connect_timeout=5, read_timeout=30)
        self.client = self.session.client(service, endpoint_url=self.endpoint, config=config)

    def call(self, operation, **parameters):
        answer = getattr(self.client, operation)(**parameters)
        metadata = answer.pop("ResponseMetadata")
        check(f"{operation}: the HTTP status", metadata["HTTPStatusCode"], 200)
        check_matches(f"{operation}: the request id", metadata.get("RequestId"), ".+")
        return answer

    def refused(self, code, operation, **parameters):
        """Expects the error and that boto3 knows it by name, which it does only for the operation's own errors."""
        try:
            answer = self.call(operation, **parameters)
        except getattr(self.client.exceptions, code) as error:
            check(f"{operation}: the error", error.response["Error"]["Code"], code)
            check_matches(f"{operation}: the error's message", error.response["Error"]["Message"], "(?s).+")
            return code
        raise Mismatch(f"{operation} answered {answer!r} where {code} is due")

    def every(self, operation, member, **parameters):
        """All pages of a list, one element a page where the operation lets clients say so."""
        if self.client.can_paginate(operation):
            pages = self.client.get_paginator(operation).paginate(**parameters, PaginationConfig={"PageSize": 1})
            return [element for page in pages for element in page[member]]
        model = self.client.meta.service_model.operation_model(self.client.meta.method_to_api_mapping[operation])
        if "MaxResults" in model.input_shape.members:
            parameters["MaxResults"] = 1
        elements, tokens = [], set()
        while True:
            page = self.call(operation, **parameters)
            if "MaxResults" in parameters and len(page[member]) > 1:
                raise Mismatch(f"{operation}: {len(page[member])} elements in a page of one")
            elements += page[member]
            token = page.get("NextToken")
            if token is None:
                return elements
            if token in tokens or "NextToken" not in model.input_shape.members:
                raise Mismatch(f"{operation}: NextToken {token!r} leads nowhere")
            tokens.add(token)
            parameters["NextToken"] = token

    def arn(self, resource):
        return rf"arn:aws[\w-]*:{self.service}:{self.region}:\d{{12}}:{resource}"


def only(what, elements, **expected):
    """The one element that has these members."""
    found = [e for e in elements if all(e.get(member) == value for member, value in expected.items())]
    if len(found) != 1:
        raise Mismatch(f"{what} has {len(found)} elements with {expected}, not one: {elements!r}")
    return found[0]


def authorize(aws, connection_arn, username):
    """The handshake by token, the one step that has no AWS operation: a signed POST to the REST interface."""
    connection_id = connection_arn.rpartition("/")[2]
    body = {}
    if os.environ.get("SYNCLINE_WALK_TOKEN"):
        body["token"] = os.environ["SYNCLINE_WALK_TOKEN"]
    if username:
        body["username"] = username
    request = botocore.awsrequest.AWSRequest(
        method="POST",
        url=f"{aws.endpoint}/api/v1/connections/{connection_id}/authorize",
        headers={"Content-Type": "application/json"},
        data=json.dumps(body),
    )
    credentials = aws.session.get_credentials()
    if credentials is None:
        raise Mismatch("there are no credentials in the environment")
    # The REST interface is signed for this service, whichever of the two names the connection was made under.
    signer = botocore.auth.SigV4Auth(credentials.get_frozen_credentials(), "codeconnections", aws.region)
    signer.add_auth(request)
    answer = botocore.httpsession.URLLib3Session(timeout=30, proxies={}).send(request.prepare())
    if not 200 <= answer.status_code < 300:
        raise Mismatch(f"authorize answered {answer.status_code}: {answer.text}")
    connection = aws.call("get_connection", ConnectionArn=connection_arn)["Connection"]
    check("the authorized connection's status", connection["ConnectionStatus"], "AVAILABLE")
    return connection


def setup(aws, options):
    host_arn = aws.call(
        "create_host", Name=options.name, ProviderType="Git", ProviderEndpoint=options.provider_endpoint
    )["HostArn"]
    check_matches("HostArn", host_arn, aws.arn(f"host/{re.escape(options.name)}-[0-9a-f]{{8}}"))
    host = {"Name": options.name, "ProviderType": "Git", "ProviderEndpoint": options.provider_endpoint}
    check_all("the new host", aws.call("get_host", HostArn=host_arn), Status="PENDING", **host)

    connection_arn = aws.call("create_connection", ConnectionName=options.name, HostArn=host_arn)["ConnectionArn"]
    check_matches("ConnectionArn", connection_arn, aws.arn(f"connection/{UUID}"))
    connection = {"ConnectionName": options.name, "ConnectionArn": connection_arn, "ProviderType": "Git",
                  "HostArn": host_arn}
    new = aws.call("get_connection", ConnectionArn=connection_arn)["Connection"]
    check_all("the new connection", new, ConnectionStatus="PENDING", **connection)
    link = {"ConnectionArn": connection_arn, "OwnerId": options.owner, "RepositoryName": options.repository}
    aws.refused("InvalidInputException", "create_repository_link", **link)

    check_all("the authorized connection", authorize(aws, connection_arn, options.username), **connection)
    check("the status of the connection's host", aws.call("get_host", HostArn=host_arn)["Status"], "AVAILABLE")
    hosts = aws.every("list_hosts", "Hosts")
    check_all("the listed host", only("list_hosts", hosts, HostArn=host_arn), Status="AVAILABLE", **host)
    connections = aws.every("list_connections", "Connections", HostArnFilter=host_arn)
    check_all("the listed connection", only("list_connections", connections), ConnectionStatus="AVAILABLE",
              **connection)

    made = aws.call("create_repository_link", **link)["RepositoryLinkInfo"]
    link_id = made["RepositoryLinkId"]
    check_matches("RepositoryLinkId", link_id, UUID)
    check_matches("RepositoryLinkArn", made["RepositoryLinkArn"], aws.arn(f"repository-link/{link_id}"))
    check_all("the new repository link", made, ProviderType="Git", **link)
    check("get_repository_link", aws.call("get_repository_link", RepositoryLinkId=link_id)["RepositoryLinkInfo"], made)
    links = aws.every("list_repository_links", "RepositoryLinks")
    check("the listed link", only("list_repository_links", links, RepositoryLinkId=link_id), made)
    aws.refused("ResourceAlreadyExistsException", "create_repository_link", **link)

    sync = {"Branch": options.branch, "ConfigFile": options.config_file, "RepositoryLinkId": link_id,
            "ResourceName": options.stack, "RoleArn": options.role_arn, "SyncType": SYNC_TYPE}
    made = aws.call("create_sync_configuration", **sync)["SyncConfiguration"]
    check_all("the new sync configuration", made, OwnerId=options.owner, RepositoryName=options.repository,
              ProviderType="Git", **sync)
    key = {"SyncType": SYNC_TYPE, "ResourceName": options.stack}
    check("get_sync_configuration", aws.call("get_sync_configuration", **key)["SyncConfiguration"], made)
    syncs = aws.every("list_sync_configurations", "SyncConfigurations", RepositoryLinkId=link_id, SyncType=SYNC_TYPE)
    check("the listed sync configuration", only("list_sync_configurations", syncs), made)

    state = {"host_arn": host_arn, "connection_arn": connection_arn, "repository_link_id": link_id,
             "owner": options.owner, "repository": options.repository, "branch": options.branch,
             "stack": options.stack, "config_file": options.config_file}
    with open(options.state, "w", encoding="utf-8") as file:
        json.dump(state, file)
    return {**state, "sync_configuration": made}


def wait(aws, options):
    state = load(options.state)
    key = {"SyncType": SYNC_TYPE, "ResourceName": state["stack"]}
    status = ended_sync(aws, key, options)
    latest, good = status["LatestSync"], status.get("LatestSuccessfulSync")
    if latest["Status"] != options.expect:
        raise Mismatch(f"the sync ended {latest['Status']}, not {options.expect}: {latest['Events']!r}")
    check("LatestSync.Target", latest["Target"], state["stack"])
    check_attempt("LatestSync", latest, state)
    check_revision("DesiredState", status["DesiredState"], state)
    check("LatestSync.TargetRevision", latest["TargetRevision"], status["DesiredState"])
    if good is not None:
        check("LatestSuccessfulSync.Status", good["Status"], "SUCCEEDED")
        check_attempt("LatestSuccessfulSync", good, state)
    if options.expect == "SUCCEEDED":
        check("LatestSuccessfulSync", good, latest)
    if options.initial_sha:
        check("LatestSync.InitialRevision.Sha", latest["InitialRevision"]["Sha"], options.initial_sha)
    if options.last_good_sha:
        check("LatestSuccessfulSync.TargetRevision.Sha", good and good["TargetRevision"]["Sha"], options.last_good_sha)

    summary = aws.call("get_sync_blocker_summary", **key)["SyncBlockerSummary"]
    check("the blocker summary's ResourceName", summary["ResourceName"], state["stack"])
    for blocker in summary["LatestBlockers"]:
        check("a blocker's Type", blocker["Type"], "AUTOMATED")
        check_matches("a blocker's CreatedReason", blocker["CreatedReason"], "(?s).+")
        check_time("a blocker's CreatedAt", blocker["CreatedAt"])
    active = [blocker for blocker in summary["LatestBlockers"] if blocker["Status"] == "ACTIVE"]
    check("whether a blocker is ACTIVE", bool(active), options.expect == "FAILED")

    link = {"RepositoryLinkId": state["repository_link_id"], "SyncType": SYNC_TYPE}
    repository = aws.call("get_repository_sync_status", Branch=state["branch"], **link)["LatestSync"]
    check_time("the repository sync's StartedAt", repository["StartedAt"])
    if options.expect == "SUCCEEDED":
        check("the repository sync's Status", repository["Status"], "SUCCEEDED")
    definitions = aws.every("list_repository_sync_definitions", "RepositorySyncDefinitions", **link)
    definition = {"Branch": state["branch"], "Target": state["stack"], "Parent": state["stack"],
                  "Directory": status["DesiredState"]["Directory"]}
    only("list_repository_sync_definitions", definitions, **definition)
    return {"status": latest["Status"], "events": [event["Type"] for event in latest["Events"]],
            "reason": active[0]["CreatedReason"] if active else "", "resource_sync": status, "blockers": summary,
            "repository_sync": repository, "definitions": definitions}


def ended_sync(aws, key, options):
    """Polls until the newest attempt has ended, and is the one that was asked for."""
    deadline = time.monotonic() + options.timeout
    seen = "nothing"
    while True:
        try:
            status = aws.call("get_resource_sync_status", **key)
            latest = status["LatestSync"]
            sha, ended = latest["TargetRevision"]["Sha"], latest["Status"] in ("SUCCEEDED", "FAILED")
            # One that was given up for something newer says nothing about that.
            given_up = bool(latest["Events"]) and latest["Events"][-1]["Type"] == "SUPERSEDED"
            if ended and not given_up and sha == (options.sha or status.get("DesiredState", {}).get("Sha")):
                return status
            seen = f"{latest['Status']} at {sha}: {latest['Events']!r}"
        except aws.client.exceptions.ResourceNotFoundException as error:
            # There has been no attempt yet.
            seen = str(error)
        if time.monotonic() > deadline:
            wanted = options.sha or "the desired commit"
            raise Mismatch(f"no sync of {wanted} ended within {options.timeout} s; the last answer was {seen}")
        time.sleep(POLL_SECONDS)


def check_attempt(what, attempt, state):
    check_time(f"{what}.StartedAt", attempt["StartedAt"])
    check_revision(f"{what}.InitialRevision", attempt["InitialRevision"], state)
    check_revision(f"{what}.TargetRevision", attempt["TargetRevision"], state)
    if not attempt["Events"]:
        raise Mismatch(f"{what} has no events")
    for event in attempt["Events"]:
        check_time(f"a time in {what}.Events", event["Time"])
        check_matches(f"an Event in {what}.Events", event["Event"], "(?s).+")
        check_matches(f"a Type in {what}.Events", event["Type"], "[A-Za-z0-9_]+")
    times = [event["Time"] for event in attempt["Events"]]
    check(f"the order of {what}.Events", times, sorted(times))


def check_revision(what, revision, state):
    check_all(what, revision, Branch=state["branch"], OwnerId=state["owner"], RepositoryName=state["repository"],
              ProviderType="Git", Directory=os.path.dirname(state["config_file"]) or ".")
    check_matches(f"{what}.Sha", revision["Sha"], "[0-9a-f]{40}")


def teardown(aws, options):
    state = load(options.state)
    gone = "ResourceNotFoundException"
    link = {"RepositoryLinkId": state["repository_link_id"]}
    sync = {"SyncType": SYNC_TYPE, "ResourceName": state["stack"]}
    refused = [
        aws.refused("SyncConfigurationStillExistsException", "delete_repository_link", **link),
        aws.refused("ResourceUnavailableException", "delete_host", HostArn=state["host_arn"]),
    ]
    aws.call("delete_sync_configuration", **sync)
    aws.refused(gone, "get_sync_configuration", **sync)
    aws.refused(gone, "get_resource_sync_status", **sync)
    aws.call("delete_sync_configuration", **sync)  # again: there is nothing to delete, which is no error
    aws.call("delete_repository_link", **link)
    aws.refused(gone, "get_repository_link", **link)
    aws.call("delete_connection", ConnectionArn=state["connection_arn"])
    aws.refused(gone, "get_connection", ConnectionArn=state["connection_arn"])
    aws.call("delete_host", HostArn=state["host_arn"])
    aws.refused(gone, "get_host", HostArn=state["host_arn"])
    return {"deleted": [state["stack"], state["repository_link_id"], state["connection_arn"], state["host_arn"]],
            "refused": refused}


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True, help="where Syncline listens, as a URL")
    parser.add_argument("--service", default="codeconnections", choices=["codeconnections", "codestar-connections"])
    parser.add_argument("--region", default="us-east-1")
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("setup")
    for name in ["state", "name", "provider-endpoint", "owner", "repository", "config-file", "stack", "role-arn"]:
        command.add_argument(f"--{name}", required=True)
    command.add_argument("--branch", default="main")
    command.add_argument("--username", help="the user that the token belongs to")

    command = commands.add_parser("authorize")
    command.add_argument("--connection-arn", required=True)
    command.add_argument("--username", help="the user that the token belongs to")

    command = commands.add_parser("wait")
    command.add_argument("--state", required=True)
    command.add_argument("--expect", default="SUCCEEDED", choices=["SUCCEEDED", "FAILED"])
    command.add_argument("--sha", help="the commit that must be synced; default: the one that is desired")
    command.add_argument("--initial-sha", help="the commit that the sync must have started from")
    command.add_argument("--last-good-sha", help="the commit that must be the newest that succeeded")
    command.add_argument("--timeout", type=float, default=180, help="in seconds")

    command = commands.add_parser("teardown")
    command.add_argument("--state", required=True)
    return parser.parse_args()


def main():
    options = parse_arguments()
    commands = {
        "setup": setup,
        "authorize": lambda aws, options: authorize(aws, options.connection_arn, options.username),
        "wait": wait,
        "teardown": teardown,
    }
    try:
        aws = Aws(options.service, options.endpoint, options.region)
        seen = commands[options.command](aws, options)
    except KeyError as error:
        sys.exit(f"boto3_walk.py {options.command}: an answer lacks {error}")
    except (Mismatch, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        sys.exit(f"boto3_walk.py {options.command}: {error}")
    except (ValueError, TypeError) as error:
        # botocore's parsers let these through for a value of the wrong form.
        sys.exit(f"boto3_walk.py {options.command}: an answer cannot be parsed: {error}")
    print(json.dumps({"boto3": boto3.__version__, "service": options.service, **seen}, default=datetime_text, indent=2))


def datetime_text(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no JSON form")


if __name__ == "__main__":
    main()
