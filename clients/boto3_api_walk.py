#!/usr/bin/env python3
"""Calls every operation of a running Syncline with an unmodified boto3: makes, reads, lists, changes, tags, deletes.

    boto3_api_walk.py --service NAME --provider-endpoint URL --syncline PROGRAM

boto3 gets the endpoint, the region and the credentials from the environment alone, in its own variables
(AWS_ENDPOINT_URL_CODECONNECTIONS, AWS_ENDPOINT_URL_CODESTAR_CONNECTIONS, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY). The region must be empty: lists are compared as a whole. PROVIDER-ENDPOINT is where the hosts'
repositories would be; nothing needs to be there. PROGRAM is `syncline`, which completes the handshakes.

Prints one JSON object: the operations that were called, and each error that was provoked with its HTTP status. The
exit status is 1, with one line on standard error, when an answer is not what the API promises.
"""

import argparse
import json
import re
import subprocess
import sys

import boto3
import botocore.exceptions

from boto3_walk import SYNC_TYPE, UUID, Aws, Mismatch, check, check_all, check_matches

PAGE = 2
NOTHING = "00000000-1111-2222-3333-444444444444"
VPC = {"VpcId": "vpc-0a1b2c3d4e5f60718", "SubnetIds": ["subnet-0a1b2c3d4e5f60718"],
       "SecurityGroupIds": ["sg-0a1b2c3d4e5f60718"]}


class Recorded(Aws):
    """The client, which remembers what it called and what was refused."""

    def __init__(self, service):
        super().__init__(service, None, None)
        self.called = set()
        self.seen = set()

    def call(self, operation, **parameters):
        self.called.add(self.client.meta.method_to_api_mapping[operation])
        return super().call(operation, **parameters)

    def refused(self, code, operation, **parameters):
        """Expects one of the operation's own errors, as the exception that boto3 has for it."""
        return self.refused_as(getattr(self.client.exceptions, code), code, operation, **parameters)

    def invalid(self, operation, text, **parameters):
        """Expects the ValidationException that no operation declares, with this in its text."""
        error = self.refused_as(botocore.exceptions.ClientError, "ValidationException", operation, **parameters)
        if text not in error["Message"]:
            raise Mismatch(f"{operation}: {error['Message']!r} does not say {text!r}")

    def refused_as(self, exception, code, operation, **parameters):
        try:
            answer = self.call(operation, **parameters)
        except exception as raised:
            error = raised.response["Error"]
            check(f"{operation}: the error", error["Code"], code)
            check_matches(f"{operation}: the error's message", error["Message"], "(?s).+")
            self.seen.add(f"{code} {raised.response['ResponseMetadata']['HTTPStatusCode']}")
            return error
        raise Mismatch(f"{operation} answered {answer!r} where {code} is due")

    def pages(self, operation, member, **parameters):
        """All elements of a list in pages of PAGE, and that it took more than one."""
        if self.client.can_paginate(operation):
            self.called.add(self.client.meta.method_to_api_mapping[operation])
            paginator = self.client.get_paginator(operation)
            pages = [page[member] for page in paginator.paginate(**parameters, PaginationConfig={"PageSize": PAGE})]
        else:
            pages = []
            while True:
                page = self.call(operation, **parameters, MaxResults=PAGE)
                pages.append(page[member])
                if page.get("NextToken") is None:
                    break
                parameters["NextToken"] = page["NextToken"]
        elements = [element for page in pages for element in page]
        check(f"{operation}: the sizes of the pages", [len(page) for page in pages], paged(len(elements)))
        return elements

    def tags(self, arn):
        """The resource's tags, which have no order."""
        tags = self.call("list_tags_for_resource", ResourceArn=arn)["Tags"]
        return {tag["Key"]: tag["Value"] for tag in tags}

    def check_list(self, operation, member, key, expected, **parameters):
        listed = [element[key] for element in self.pages(operation, member, **parameters)]
        check(f"{operation}: what is listed", sorted(listed), sorted(expected))


def paged(elements):
    """The sizes of the pages of a list: all full but the last, which is empty only if it is the only one."""
    return [min(PAGE, elements - first) for first in range(0, max(elements, 1), PAGE)]


def tag_list(**tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def hosts(aws, endpoint):
    """Five hosts of two kinds, the first two for repositories; answers their ARNs."""
    arns = []
    for number in range(5):
        name = f"host-{number}"
        kind = "Git" if number < 2 else "GitHubEnterpriseServer"
        new = {"Name": name, "ProviderType": kind, "ProviderEndpoint": endpoint}
        if number == 4:
            new["VpcConfiguration"] = VPC
        tags = tag_list(team="web", number=str(number))
        made = aws.call("create_host", Tags=tags, **new)
        check("the tags of the answer to create_host", made["Tags"], tags)
        check_matches("HostArn", made["HostArn"], aws.arn(f"host/{name}-[0-9a-f]{{8}}"))
        check_all("the new host", aws.call("get_host", HostArn=made["HostArn"]), Status="PENDING", **new)
        arns.append(made["HostArn"])
    aws.check_list("list_hosts", "Hosts", "HostArn", arns)

    moved = f"{endpoint}/moved"
    aws.call("update_host", HostArn=arns[2], ProviderEndpoint=moved, VpcConfiguration=VPC)
    aws.call("update_host", HostArn=arns[2])
    check_all("the updated host", aws.call("get_host", HostArn=arns[2]), Name="host-2", ProviderEndpoint=moved,
              VpcConfiguration=VPC)
    missing = arns[0][:-8] + "00000000"
    for operation in ["get_host", "update_host", "delete_host"]:
        aws.refused("ResourceNotFoundException", operation, HostArn=missing)
    aws.refused("ResourceNotFoundException", "create_connection", ConnectionName="nowhere", HostArn=missing)
    return arns


def connections(aws, hosts):
    """Five connections, the first two on a host; answers their ARNs."""
    kinds = [{"HostArn": hosts[0]}, {"HostArn": hosts[0]}, {"ProviderType": "GitHub"}, {"ProviderType": "GitHub"},
             {"ProviderType": "Bitbucket"}]
    arns = []
    for number, kind in enumerate(kinds):
        new = {"ConnectionName": f"connection-{number}", **kind}
        tags = tag_list(team="web")
        made = aws.call("create_connection", Tags=tags, **new)
        check("the tags of the answer to create_connection", made["Tags"], tags)
        arn = made["ConnectionArn"]
        check_matches("ConnectionArn", arn, aws.arn(f"connection/{UUID}"))
        check_all("the new connection", aws.call("get_connection", ConnectionArn=arn)["Connection"],
                  ConnectionArn=arn, ConnectionStatus="PENDING", OwnerAccountId=arn.split(":")[4], **new)
        arns.append(arn)
    listed = ["list_connections", "Connections", "ConnectionArn"]
    aws.check_list(*listed, arns)
    aws.check_list(*listed, arns[2:4], ProviderTypeFilter="GitHub")
    aws.check_list(*listed, arns[:2], HostArnFilter=hosts[0])
    aws.check_list(*listed, [], HostArnFilter=hosts[1])

    aws.invalid("create_connection", "connection-2", ConnectionName="connection-2", ProviderType="GitHub")
    long = "x" * 33
    aws.invalid("create_connection", f"1 validation error detected: Value '{long}' at 'connectionName' failed to satisfy"
                " constraint: Member must have length less than or equal to 32", ConnectionName=long,
                ProviderType="GitHub")
    aws.refused("ResourceUnavailableException", "delete_host", HostArn=hosts[0])
    return arns


def authorize(aws, syncline, arn):
    """The handshake, which has no AWS operation."""
    done = subprocess.run([syncline, "connection", "authorize", arn, "--no-token"], capture_output=True, text=True)
    if done.returncode:
        raise Mismatch(f"syncline connection authorize: {done.stderr}")
    connection = aws.call("get_connection", ConnectionArn=arn)["Connection"]
    check("the authorized connection's status", connection["ConnectionStatus"], "AVAILABLE")


def links(aws, connections):
    """Three links on the first connection, the first of which moves to the second; answers (id, ARN) of each."""
    first = {"OwnerId": "acme", "ConnectionArn": connections[0]}
    aws.refused("InvalidInputException", "create_repository_link", RepositoryName="none", OwnerId="acme",
                ConnectionArn=connections[2])
    made = []
    for number in range(3):
        new = {"RepositoryName": f"repository-{number}", **first}
        link = aws.call("create_repository_link", Tags=tag_list(team="web"), **new)["RepositoryLinkInfo"]
        check_matches("RepositoryLinkId", link["RepositoryLinkId"], UUID)
        check_matches("RepositoryLinkArn", link["RepositoryLinkArn"],
                      aws.arn(f"repository-link/{link['RepositoryLinkId']}"))
        check_all("the new repository link", link, ProviderType="Git", **new)
        got = aws.call("get_repository_link", RepositoryLinkId=link["RepositoryLinkId"])["RepositoryLinkInfo"]
        check("get_repository_link", got, link)
        made.append((link["RepositoryLinkId"], link["RepositoryLinkArn"]))
    ids = [link_id for link_id, _ in made]
    aws.check_list("list_repository_links", "RepositoryLinks", "RepositoryLinkId", ids)
    aws.refused("ResourceAlreadyExistsException", "create_repository_link", RepositoryName="repository-1", **first)

    key = f"arn:aws:kms:{aws.region}:{connections[0].split(':')[4]}:key/{NOTHING}"
    moved = aws.call("update_repository_link", RepositoryLinkId=ids[0], ConnectionArn=connections[1],
                     EncryptionKeyArn=key)["RepositoryLinkInfo"]
    check_all("the moved link", moved, RepositoryLinkId=ids[0], ConnectionArn=connections[1], EncryptionKeyArn=key)
    check("the moved link", aws.call("get_repository_link", RepositoryLinkId=ids[0])["RepositoryLinkInfo"], moved)
    aws.refused("InvalidInputException", "update_repository_link", RepositoryLinkId=ids[0],
                ConnectionArn=connections[2])
    for operation in ["get_repository_link", "update_repository_link", "delete_repository_link"]:
        aws.refused("ResourceNotFoundException", operation, RepositoryLinkId=NOTHING)
    return made


def syncs(aws, link_id):
    """Three sync configurations of a link; answers their names."""
    account = aws.call("get_repository_link", RepositoryLinkId=link_id)["RepositoryLinkInfo"]["ConnectionArn"]
    role = f"arn:aws:iam::{account.split(':')[4]}:role/sync"
    of_link = {"RepositoryLinkId": link_id, "SyncType": SYNC_TYPE}
    names = [f"stack-{number}" for number in range(3)]
    for name in names:
        new = {"Branch": "main", "ConfigFile": f"deploy/{name}.yaml", "ResourceName": name, "RoleArn": role, **of_link}
        made = aws.call("create_sync_configuration", **new)["SyncConfiguration"]
        check_all("the new sync configuration", made, OwnerId="acme", ProviderType="Git",
                  RepositoryName="repository-0", **new)
        got = aws.call("get_sync_configuration", SyncType=SYNC_TYPE, ResourceName=name)["SyncConfiguration"]
        check("get_sync_configuration", got, made)
    aws.check_list("list_sync_configurations", "SyncConfigurations", "ResourceName", names, **of_link)
    defined = aws.call("list_repository_sync_definitions", **of_link)["RepositorySyncDefinitions"]
    check("the sync definitions", sorted(definition["Target"] for definition in defined), names)
    aws.refused("ResourceAlreadyExistsException", "create_sync_configuration", Branch="main", ConfigFile="a.yaml",
                ResourceName=names[0], RoleArn=role, **of_link)

    key = {"SyncType": SYNC_TYPE, "ResourceName": names[0]}
    changes = {"Branch": "release", "ConfigFile": "deploy/other.yaml", "TriggerResourceUpdateOn": "FILE_CHANGE",
               "PublishDeploymentStatus": "ENABLED"}
    updated = aws.call("update_sync_configuration", **key, **changes)["SyncConfiguration"]
    check_all("the updated sync configuration", updated, RepositoryLinkId=link_id, RoleArn=role, **key, **changes)
    check("the updated sync configuration", aws.call("get_sync_configuration", **key)["SyncConfiguration"], updated)

    # There is no repository, and nobody follows that branch: there is nothing to tell.
    gone = "ResourceNotFoundException"
    aws.refused(gone, "get_resource_sync_status", **key)
    aws.refused(gone, "get_repository_sync_status", Branch="unfollowed", **of_link)
    summary = aws.call("get_sync_blocker_summary", **key)["SyncBlockerSummary"]
    check("the blocker summary's ResourceName", summary["ResourceName"], names[0])
    aws.refused("SyncBlockerDoesNotExistException", "update_sync_blocker", Id=NOTHING, ResolvedReason="mended", **key)
    for operation in ["get_sync_configuration", "update_sync_configuration"]:
        aws.refused(gone, operation, SyncType=SYNC_TYPE, ResourceName="stack-9")
    return names


def tagging(aws, arn):
    """The tags of one resource, made with `team`: merged, replaced, removed."""
    before = aws.tags(arn)
    check("the tags that the resource was made with", before["team"], "web")
    aws.call("tag_resource", ResourceArn=arn, Tags=tag_list(team="api", cost=""))
    check("the merged tags", aws.tags(arn), {**before, "team": "api", "cost": ""})
    others = [key for key in before if key != "team"]
    aws.call("untag_resource", ResourceArn=arn, TagKeys=["cost", "never-set", *others])
    check("the tags that are left", aws.tags(arn), {"team": "api"})
    aws.invalid("tag_resource", "aws:", ResourceArn=arn, Tags=tag_list(**{"aws:team": "web"}))


def fill(aws, arn):
    """As many tags as a resource may have, and one more; clients take their time to believe that, and ask again."""
    many = {f"key-{number}": "value" for number in range(199)}
    aws.call("tag_resource", ResourceArn=arn, Tags=tag_list(**many))
    aws.refused("LimitExceededException", "tag_resource", ResourceArn=arn, Tags=tag_list(more="one"))
    check("the tags at the quota", aws.tags(arn), {"team": "api", **many})
    aws.call("untag_resource", ResourceArn=arn, TagKeys=list(many))
    check("the tags that are left", aws.tags(arn), {"team": "api"})


def untaggable(aws, arn):
    gone = "ResourceNotFoundException"
    aws.refused(gone, "list_tags_for_resource", ResourceArn=arn)
    aws.refused(gone, "tag_resource", ResourceArn=arn, Tags=tag_list(team="web"))
    aws.refused(gone, "untag_resource", ResourceArn=arn, TagKeys=["team"])


def delete(aws, hosts, connections, links, syncs):
    gone = "ResourceNotFoundException"
    aws.refused("SyncConfigurationStillExistsException", "delete_repository_link", RepositoryLinkId=links[0][0])
    for name in syncs:
        key = {"SyncType": SYNC_TYPE, "ResourceName": name}
        aws.call("delete_sync_configuration", **key)
        aws.refused(gone, "get_sync_configuration", **key)
        aws.call("delete_sync_configuration", **key)  # again: there is nothing to delete, which is no error
    for link_id, arn in links:
        aws.call("delete_repository_link", RepositoryLinkId=link_id)
        aws.refused(gone, "get_repository_link", RepositoryLinkId=link_id)
    for arn in connections:
        aws.call("delete_connection", ConnectionArn=arn)
        aws.refused(gone, "get_connection", ConnectionArn=arn)
        aws.refused(gone, "delete_connection", ConnectionArn=arn)
    for arn in hosts:
        aws.call("delete_host", HostArn=arn)
        aws.refused(gone, "get_host", HostArn=arn)
    for arn in [hosts[0], connections[0], links[0][1]]:
        untaggable(aws, arn)
    aws.check_list("list_hosts", "Hosts", "HostArn", [])
    aws.check_list("list_connections", "Connections", "ConnectionArn", [])
    aws.check_list("list_repository_links", "RepositoryLinks", "RepositoryLinkId", [])


def walk(options):
    aws = Recorded(options.service)
    made_hosts = hosts(aws, options.provider_endpoint)
    made_connections = connections(aws, made_hosts)
    for arn in made_connections[:2]:
        authorize(aws, options.syncline, arn)
    made_links = links(aws, made_connections)
    made_syncs = syncs(aws, made_links[0][0])
    for arn in [made_hosts[3], made_connections[4], made_links[2][1]]:
        tagging(aws, arn)
    fill(aws, made_hosts[3])
    delete(aws, made_hosts, made_connections, made_links, made_syncs)
    return {"called": sorted(aws.called), "refused": sorted(aws.seen)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", required=True, choices=["codeconnections", "codestar-connections"])
    parser.add_argument("--provider-endpoint", required=True, help="where the hosts' repositories would be")
    parser.add_argument("--syncline", required=True, help="the program that completes handshakes")
    options = parser.parse_args()
    try:
        print(json.dumps(walk(options), indent=2))
    except KeyError as error:
        sys.exit(f"boto3_api_walk.py: an answer lacks {error}")
    except (Mismatch, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        sys.exit(f"boto3_api_walk.py: boto3 {boto3.__version__}: {error}")
    except (ValueError, TypeError) as error:
        # botocore's parsers let these through for a value of the wrong form.
        sys.exit(f"boto3_api_walk.py: an answer cannot be parsed: {error}")


if __name__ == "__main__":
    main()
